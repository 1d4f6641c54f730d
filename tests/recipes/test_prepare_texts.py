"""The `prepare.py` of the recipes that read texts, on small files of the original form."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from seqloom.dataset import part_places, read_dataset
from seqloom.model import SequenceModel
from seqloom.recipe import load_recipe
from seqloom.word_vectors import read_word_vectors

RECIPES = Path(__file__).parents[2] / "recipes"
Script = Callable[[str, Path, Path], str]


def rows_in(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_sentiment_reads_both_sets_and_sets_rows_aside(prepare: Script, tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("".join(f"a film {k} —\t{k % 2}\n" for k in range(40)), encoding="utf-8")
    (tmp_path / "dev.tsv").write_text("so dull\t0\nso good\t1\n")
    assert "'train': 36, 'valid': 4, 'test': 2" in prepare("sentiment", tmp_path, tmp_path / "out")
    rows = rows_in(tmp_path / "out" / "sst2.jsonl")
    assert [row["choice"] for row in rows[8:11]] == ["train", "valid", "train"]
    assert {row["split"] for row in rows[:40]} == {"train"}
    assert (rows[1]["text"], rows[1]["mood"], rows[40]["mood"]) == ("a film 1 —", "positive", "negative")
    model = SequenceModel(load_recipe(RECIPES / "sentiment" / "sst2.yaml")[0])
    assert len(part_places(model, read_dataset(model, tmp_path / "out"), "train").segment) == 40


def test_sentiment_of_reviews(prepare: Script, tmp_path: Path) -> None:
    for part, count in (("train", 5100), ("test", 4)):
        lines = [f'{part}_{k}\t{k % 2}\t7\tSo "good"<br /><br />{k}' for k in range(count)]
        with lzma.open(tmp_path / f"imdb_{part}.tsv.xz", "wt", encoding="utf-8") as file:
            file.write("\n".join(["id\tlabel\trating\ttext", *lines]) + "\n")
    assert "'train': 100, 'valid': 5000, 'test': 4" in prepare("sentiment", tmp_path, tmp_path / "out")
    assert rows_in(tmp_path / "out" / "imdb.jsonl")[3]["text"] == 'So "good"  3'


def test_word_vectors_come_from_the_texts_of_the_training_part_of_choice(script: Script, tmp_path: Path) -> None:
    draw = random.Random(0)
    names = [f"name{k}" for k in range(150)]
    texts = []
    for k in range(20_000):
        praise, blame = draw.choice(["good", "great"]), draw.choice(["dull", "bland"])
        a, b = draw.sample(names, 2)
        texts.append(f"So {praise}, {a}<br />shines" if k % 2 else f"How {blame}; {b} can't act")
    texts.append("unseen " * 50)  # the first review of the validation part
    lines = ["id\tlabel\trating\ttext", *(f"train_{k}\t1\t7\t{text}" for k, text in enumerate(texts))]
    with lzma.open(tmp_path / "imdb_train.tsv.xz", "wt", encoding="utf-8", preset=0) as file:
        file.write("\n".join(lines) + "\n")
    script("sentiment/vectors.py", tmp_path, tmp_path / "out")
    read = [line.split(" ") for line in (tmp_path / "out" / "vectors.txt").read_text(encoding="utf-8").splitlines()]
    vector = {word: np.array(numbers, float) for word, *numbers in read}
    assert {"can't", "ca", "n't"} <= vector.keys(), "a contraction is read as it stands and cut"
    assert not {"unseen", "br"} & vector.keys()
    assert all(abs(np.linalg.norm(found) - 1) < 0.01 for found in vector.values())
    nearest = {word: max(vector.keys() - {word}, key=lambda w: vector[word] @ vector[w]) for word in ("good", "dull")}
    assert nearest == {"good": "great", "dull": "bland"}, "words in the same places are near each other"
    words = sorted(vector)
    assert not read_word_vectors(tmp_path / "out" / "vectors.txt", words).isnan().any()


def test_stories_keep_what_was_said_before_each_question(prepare: Script, tmp_path: Path) -> None:
    story = "1 Ann went in.\n2 Where is Ann? \tin\t1\n3 Bob sat.\n4 Who sat?\tBob,Ann\t3\n"
    with tarfile.open(tmp_path / "babi_en_1k.tar.gz", "w:gz") as archive:
        for part in ("train", "test"):
            data = (story * 10).encode()
            info = tarfile.TarInfo(f"en/qa3_some-name_{part}.txt")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    assert "'train': 18, 'valid': 2, 'test': 20" in prepare("stories", tmp_path, tmp_path / "out")
    first, second, third, *_ = rows_in(tmp_path / "out" / "stories.jsonl")
    assert (first["story"], first["question"], first["answer"]) == ("Ann went in.", "Where is Ann?", "in")
    assert (second["story"], second["answer"], second["task"]) == ("Ann went in. Bob sat.", "Bob,Ann", "3")
    assert third["story"] == "Ann went in.", "the next story begins anew"
    model = SequenceModel(load_recipe(RECIPES / "stories" / "recipe.yaml")[0])
    assert len(part_places(model, read_dataset(model, tmp_path / "out"), "test").segment) == 20


def test_paragraphs_keep_articles_in_one_part(prepare: Script, tmp_path: Path) -> None:
    def article(number: int) -> dict[str, Any]:
        answers = [{"text": text, "answer_start": 0} for text in ("in 1990", "1990", "1990")]
        asked = [{"id": f"q{number}", "question": "When?", "answers": answers}]
        return {"title": f"t{number}", "paragraphs": [{"context": "It was in 1990.", "qas": asked}]}

    for name, count in (("train", 12), ("valid", 2)):
        data = json.dumps({"data": [article(k) for k in range(count)]})
        (tmp_path / f"{name}.json.gz").write_bytes(gzip.compress(data.encode()))
    assert "'train': 10, 'valid': 2, 'test': 2" in prepare("paragraphs", tmp_path, tmp_path / "out")
    rows = rows_in(tmp_path / "out" / "paragraphs.jsonl")
    assert (rows[0]["answer"], rows[0]["answer_2"], rows[0]["answer_3"]) == ("1990", "in 1990", None)
    assert [row["title"] for row in rows if row["split"] == "valid"] == ["t5", "t11"]
    model = SequenceModel(load_recipe(RECIPES / "paragraphs" / "recipe.yaml")[0])
    assert len(part_places(model, read_dataset(model, tmp_path / "out"), "test").segment) == 2
