"""Each recipe's `prepare.py` on small files of the original form, and each recipe against what it prepared."""

from __future__ import annotations

import gzip
import json
import runpy
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from seqloom.dataset import part_places, read_dataset
from seqloom.model import SequenceModel
from seqloom.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
Script = Callable[[str, Path, Path], str]


def rows_of(start: date, days: int) -> list[tuple[date, int]]:
    return [(start + timedelta(days=k), 1000 * (1 + k % 7) + k) for k in range(days)]


def test_ridership_drops_repeated_rows_and_sorts(prepare: Script, tmp_path: Path) -> None:
    lines = [
        f"{day:%m/%d/%Y},{'U' if day.weekday() == 6 else 'W'},{value},{2 * value},{3 * value}"
        for day, value in rows_of(date(2015, 1, 1), 1900)
    ]
    header = "service_date,day_type,bus,rail_boardings,total_rides"
    name = "CTA_-_Ridership_-_Daily_Boarding_Totals.csv"
    (tmp_path / name).write_text("\n".join([header, *reversed(lines), lines[3]]) + "\n")
    said = prepare("ridership", tmp_path, tmp_path / "out")
    assert "1900 days written" in said
    assert "1 repeated rows dropped" in said
    table = pl.read_csv(tmp_path / "out" / "ridership.csv")
    assert table.columns == ["ds", "day_type", "bus", "rail"]
    assert table.row(3) == ("2015-01-04", "U", 4003, 8006)
    for recipe, windows in (("recipe.yaml", 208), ("next_day.yaml", 95)):
        model = SequenceModel(load_recipe(RECIPES / "ridership" / recipe)[0])
        places = part_places(model, read_dataset(model, tmp_path / "out"), "test")
        assert len(places.segment) == windows


def test_cash_machines_blank_zeros_and_count_them(prepare: Script, tmp_path: Path) -> None:
    lines = [
        f"{day},{'' if k == 5 else value},{0 if k == 9 else value / 7}"
        for k, (day, value) in enumerate(rows_of(date(1996, 3, 18), 791))
    ]
    text = "\n".join(["date,NN5-001,NN5-002", *lines]) + "\n"
    (tmp_path / "nn5_daily.csv.gz").write_bytes(gzip.compress(text.encode()))
    said = prepare("cash-machines", tmp_path, tmp_path / "out")
    assert "791 days of 2 machines" in said
    assert "1 missing, 1 zeros" in said
    table = pl.read_csv(tmp_path / "out" / "cash.csv")
    assert table["NN5-002"].null_count() == 1
    for recipe, windows in (("recipe.yaml", 16), ("56_days.yaml", 2)):
        model = SequenceModel(load_recipe(RECIPES / "cash-machines" / recipe)[0])
        dataset = read_dataset(model, tmp_path / "out")
        places = part_places(model, dataset, "test")
        assert len(places.segment) == windows
        assert places.origin.min() == 735


def test_sensors_keep_the_split_and_set_late_utterances_aside(prepare: Script, tmp_path: Path) -> None:
    def case(speaker: int, steps: int) -> str:
        return ":".join([*(",".join(str(c + t / 10) for t in range(steps)) for c in range(12)), str(speaker)])

    for part, count in (("TRAIN", 6), ("TEST", 2)):
        cases = [case(speaker, 7 + k) for speaker in (1, 2) for k in range(count)]
        (tmp_path / f"JapaneseVowels_{part}.ts").write_text("\n".join(["# comment", "@data", *cases]) + "\n")
    assert "16 utterances" in prepare("sensors", tmp_path, tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "vowels.jsonl").read_text().splitlines()]
    assert [row["split"] for row in rows] == ["train"] * 12 + ["test"] * 4
    assert [row["choice"] for row in rows[:6]] == ["train"] * 4 + ["valid"] * 2
    assert {row["choice"] for row in rows[12:]} == {"test"}
    assert rows[0]["coefficients"][1] == [c + 0.1 for c in range(12)]
    model = SequenceModel(load_recipe(RECIPES / "sensors" / "recipe.yaml")[0])
    assert len(part_places(model, read_dataset(model, tmp_path / "out"), "train").segment) == 12


def test_m4_joins_train_and_test(prepare: Script, tmp_path: Path) -> None:
    for subset, horizon in (("Weekly", 13), ("Hourly", 48)):
        values = [str(100 + k % 24) for k in range(400)]
        letter = subset[0]
        columns = ",".join(f'"V{k + 1}"' for k in range(401))
        (tmp_path / f"{subset}-train.csv").write_text(f'{columns}\n"{letter}1",{",".join(values)}\n')
        (tmp_path / f"{subset}-test.csv").write_text(f'{columns}\n"{letter}1",{",".join(["7"] * horizon)},,\n')
    said = prepare("m4", tmp_path, tmp_path / "out")
    assert said.count("1 series written") == 2
    for subset, horizon in (("weekly", 13), ("hourly", 48)):
        table = pl.read_csv(tmp_path / "out" / f"{subset}.csv")
        assert table["y"].tail(horizon).to_list() == [7.0] * horizon
        model = SequenceModel(load_recipe(RECIPES / "m4" / f"{subset}.yaml")[0])
        places = part_places(model, read_dataset(model, tmp_path / "out"), "test")
        assert (places.origin.tolist(), places.stop.tolist()) == ([400], [400 + horizon])


def test_sessions_are_put_together_from_their_beginnings(prepare: Script, tmp_path: Path) -> None:
    learned = [f"{k} {k + 1} {k + 2}" for k in range(1, 101)]
    tested = ["5 6 7\t8", "5 6\t7", "5\t6", "9\t9", "5\t6"]
    for name, text in (("train_sessions.txt.gz", learned), ("test_prefix_target.tsv.gz", tested)):
        (tmp_path / name).write_bytes(gzip.compress(("\n".join(text) + "\n").encode()))
    assert "the test part asks for 5 items" in prepare("sessions", tmp_path, tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "sessions.jsonl").read_text().splitlines()]
    assert [row["split"] for row in rows] == ["train"] * 98 + ["valid"] * 2 + ["test"] * 3
    assert [row["items"] for row in rows[100:]] == [["5", "6", "7", "8"], ["9", "9"], ["5", "6"]]
    for recipe in ("recipe.yaml", "nowplaying.yaml"):
        model = SequenceModel(load_recipe(RECIPES / "sessions" / recipe)[0])
        assert len(part_places(model, read_dataset(model, tmp_path / "out"), "train").segment) == 98


def test_watch_histories_are_asked_for_their_last_items_alone(prepare: Script, tmp_path: Path) -> None:
    titles = ["1|Heat (1995)|x", "2|Heat (1995)|x", "3|Café (1999)|x", "4|Lone|x"]
    (tmp_path / "u.item").write_text("\n".join(titles), encoding="latin-1")
    events = ["7\t3\t5\t30", "7\t1\t4\t10", "7\t2\t3\t20", "7\t4\t1\t30", "8\t4\t2\t5", "8\t3\t2\t6"]
    (tmp_path / "u.data").write_text("\n".join(events) + "\n")
    assert "6 events of 2 users" in prepare("watch-history", tmp_path, tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "films.jsonl").read_text().splitlines()]
    seen = ["Heat (1995) [1]", "Heat (1995) [2]", "Café (1999)", "Lone"]
    assert [(row["items"], row["asked_from"], row["split"]) for row in rows] == [
        (seen[:2], 2, "train"),
        (seen[:3], 3, "valid"),
        (seen, 4, "test"),
        (["Lone", "Café (1999)"], 2, "train"),
    ]
    assert rows[2]["ratings"] == [4, 3, 5, 1]
    for recipe in ("recipe.yaml", "liked.yaml"):
        model = SequenceModel(load_recipe(RECIPES / "watch-history" / recipe)[0])
        assert len(part_places(model, read_dataset(model, tmp_path / "out"), "test").segment) == 1
    (tmp_path / "games").mkdir()
    (tmp_path / "games" / "Video.txt").write_text("1 10\n1 11\n1 12\n2 10\n")
    assert "4 events of 2 users" in prepare("watch-history", tmp_path / "games", tmp_path / "out")
    model = SequenceModel(load_recipe(RECIPES / "watch-history" / "games.yaml")[0])
    assert len(part_places(model, read_dataset(model, tmp_path / "out"), "train").segment) == 2


def test_the_treebank_is_one_text_for_each_part(prepare: Script, tmp_path: Path) -> None:
    for part, text in (("train", " a b a \n c \n"), ("valid", " b \n"), ("test", " a c \n")):
        (tmp_path / f"ptb.{part}.txt.gz").write_bytes(gzip.compress(text.encode()))
    said = prepare("language-model", tmp_path, tmp_path / "out")
    assert "train 6, valid 2, test 3 words" in said
    assert "train 10, valid 3, test 5 characters" in said
    rows = [json.loads(line) for line in (tmp_path / "out" / "words.jsonl").read_text().splitlines()]
    assert rows[0] == {"id": "train", "words": ["a", "b", "a", "</s>", "c", "</s>"], "split": "train"}
    texts = [json.loads(line) for line in (tmp_path / "out" / "characters.jsonl").read_text().splitlines()]
    assert "".join(texts[0]["characters"]) == "a b a \nc \n"
    for recipe in ("recipe.yaml", "characters.yaml"):
        model = SequenceModel(load_recipe(RECIPES / "language-model" / recipe)[0])
        assert len(part_places(model, read_dataset(model, tmp_path / "out"), "test").segment) == 1


NAMES = [str(path.relative_to(RECIPES)) for name in ("prepare.py", "vectors.py") for path in RECIPES.glob(f"*/{name}")]


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_source_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, str(tmp_path), str(tmp_path / "out")])
    with pytest.raises(SystemExit, match=r"^error: there is no "):
        runpy.run_path(str(RECIPES / name), run_name="__main__")
    assert list(tmp_path.iterdir()) == [], "nothing is left where nothing could be made"


def test_translation_pairs_line_by_line(prepare: Script, tmp_path: Path) -> None:
    for part, count in (("train", 6), ("val", 3), ("test_2016_flickr", 2)):
        for language in ("de", "en"):
            text = "".join(f"{language} {part} {k} .\n" for k in range(count))
            name = f"{part}.lc.norm.tok.{language}"
            if part == "train":
                (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
            else:
                (tmp_path / name).write_text(text)
    assert "11 pairs written" in prepare("translation", tmp_path, tmp_path / "out")
    table = pl.read_ndjson(tmp_path / "out" / "pairs.jsonl")
    assert table.row(2) == ("train-3", "de train 2 .", "en train 2 .", "train")
    for recipe in ("recipe.yaml", "to_german.yaml"):
        model = SequenceModel(load_recipe(RECIPES / "translation" / recipe)[0])
        assert len(part_places(model, read_dataset(model, tmp_path / "out"), "test").segment) == 2
    with (tmp_path / "val.lc.norm.tok.en").open("a") as file:
        file.write("one more\n")
    with pytest.raises(SystemExit, match=r"^error: valid has 3 German lines and 4 English ones$"):
        runpy.run_path(str(RECIPES / "translation" / "prepare.py"))["prepare"](tmp_path, tmp_path / "two")
    assert not (tmp_path / "two").exists()
