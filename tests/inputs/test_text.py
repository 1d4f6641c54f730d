"""Text: which tokens a model reads, of which columns, and what it says of texts that are too long."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from flows import Outcome
from seqloom.batch import cut, encode
from seqloom.data.ledger import Ledger
from seqloom.dataset import coming_places, read_dataset
from seqloom.errors import DataError, RecipeError, StreamingError
from seqloom.fitting import prepare
from seqloom.inputs.text import Text, TextSettings
from seqloom.model import SequenceModel
from seqloom.recipe import Recipe, parse_recipe, parse_text
from seqloom.sequences import Ragged
from seqloom.stream import Stream
from seqloom.tokenizer import END, UNKNOWN

PAIRS = np.array([["Where is Ann?", "ann went home. Bob sat."], [None, "x"], ["a", None], [None, None]], object)


def made(values: Any, **settings: Any) -> Text:
    input = Text("text", TextSettings.model_validate({"kind": "text", "size": 3, **settings}))
    input.fit(values)
    torch.manual_seed(0)
    input.build()
    return input.eval()


def pairs(**settings: Any) -> Text:
    return made(PAIRS[:3], columns=["question", "story"], **settings)


def test_one_column_is_its_tokens() -> None:
    values = np.array(["b a b", None, "a new word"], object)
    input = made(values[:2])
    found = input.encode(values)
    assert isinstance(found, Ragged)
    assert found.offsets.tolist() == [0, 3, 3, 6]
    a, b = (input.tokenizer.words.index(word) for word in "ab")
    assert found.values.squeeze(1).tolist() == [b, a, b, a, UNKNOWN, UNKNOWN]
    torch.testing.assert_close(input(found.values, None), input.embedding.weight[found.values.squeeze(1)])


def test_columns_are_read_in_turn_and_compared() -> None:
    input = pairs()
    read = input.tokens(PAIRS)
    words = [PAIRS[0, c][a:b] for c, (a, b) in zip(read.column[:11], read.spans[:11], strict=True)]
    assert words == ["Where", "is", "Ann", "?", "", "ann", "went", "home", ".", "Bob", "sat"]
    assert read.column[:11].tolist() == [0] * 5 + [1] * 6
    assert (read.codes[:11] == END).nonzero()[0].tolist() == [4]
    assert read.spans[4].tolist() == [13, 13], "the mark stands at the end of its text"
    assert np.diff(read.offsets).tolist() == [12, 2, 2, 1]
    repeated = input.encode(PAIRS).values[:, 2]
    assert repeated[:12].nonzero().flatten().tolist() == [2, 5], "Ann, whatever its case"
    assert not repeated[12:].any()


def test_words_that_nobody_has_seen_are_compared_too() -> None:
    values = np.array([["Is Zoë in?", "Zoe\u0308 is out"]], object)
    input = pairs()
    codes, _, repeated = input.encode(values).values.T
    assert codes[1] == UNKNOWN
    assert repeated.tolist() == [1, 1, 0, 0, 0, 1, 1, 0]


def test_a_step_says_its_column_and_whether_it_is_repeated() -> None:
    input = pairs()
    step = torch.tensor([[[5, 0, 0], [5, 1, 1]]])
    first, second = input(step, None)[0]
    assert input.features == 4
    assert input.column is not None
    torch.testing.assert_close(second[:3] - first[:3], input.column.weight[1] - input.column.weight[0])
    assert (first[3], second[3]) == (0, 1)


def test_tokens_are_hidden_in_training_only() -> None:
    input = made(np.array(["a b c d"], object), unknown_rate=0.5)
    codes = torch.full((1, 1000, 1), 4)
    shown = input.embedding.weight[4]
    assert (input(codes, None) == shown).all()
    torch.manual_seed(0)
    share = (input.train()(codes, None) == shown).all(dim=-1).double().mean()
    assert 0.45 < share < 0.55


def test_long_texts_are_counted_with_their_rows() -> None:
    values = np.array(["a b", "a b c", None, "a b c d"], object)
    input = made(values, max_length=2, keep="end")
    ledger = Ledger()
    input.report(values, ledger)
    (problem,) = ledger.problems
    assert (problem.severity, problem.code, problem.row, problem.count) == ("note", "long-text", 2, 2)
    assert problem.message == (
        "column 'text' has 2 texts of more than 2 tokens, in row 2, row 4; of each, 2 are read: the last "
        "(inputs.text.max_length and keep)."
    )
    assert input.encode(values).lengths.tolist() == [2, 2, 0, 2]


def test_vectors_are_where_an_embedding_starts(tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("a 1 -2\nb 3 4\n")
    input = Text("text", TextSettings(kind="text", vectors="vectors.txt", size=64))
    input.fit(np.array(["a b c"], object))
    assert input.files == {"vectors": "vectors.txt"}
    input.read_file("vectors", path)
    input.build()
    places = [input.tokenizer.words.index(word) for word in "abc"]
    assert input.features == 2
    torch.testing.assert_close(input.embedding.weight[places[:2]], torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
    again = Text("text", TextSettings(kind="text", vectors="gone.txt"))
    again.restore(input.fitted())
    again.build()
    assert again.embedding.weight.shape == input.embedding.weight.shape, "the file is not needed again"
    assert again.tokenizer.words == input.tokenizer.words


RECIPE = """\
data: {split: {valid: 0, test: 0.1}}
inputs:
  text:
    kind: text
    vectors: vectors.txt
outputs: {mood: {kind: category}}
"""


def folders(place: Path) -> tuple[Path, Path]:
    """A folder with data and word vectors, and another one with other vectors by the same name."""
    data, elsewhere = place / "data", place / "elsewhere"
    for folder, numbers in ((data, "1 2"), (elsewhere, "8 9 10")):
        folder.mkdir()
        (folder / "vectors.txt").write_text(f"good {numbers}\n")
    (data / "table.csv").write_text("text,mood\n" + "good,glad\nbad,sad\n" * 10)
    return data, elsewhere


def start_of(recipe: Recipe, data: object) -> list[float]:
    """What the embedding of one word begins with."""
    model = SequenceModel(recipe)
    prepare(model, read_dataset(model, data))
    text = model.inputs["text"]
    assert isinstance(text, Text)
    found: list[float] = text.embedding.weight[text.tokenizer.words.index("good")].tolist()
    return found


def test_vectors_are_looked_for_beside_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, elsewhere = folders(tmp_path)
    monkeypatch.chdir(elsewhere)
    recipe = parse_text(RECIPE, "recipe.yaml")
    for given in (data, data / "table.csv", "../data", "../data/table.csv"):
        assert start_of(recipe, given) == [1, 2], "not those of the folder that the command is called from"
    assert start_of(recipe, pl.read_csv(data / "table.csv")) == [8, 9, 10], "a frame is in no folder"
    whole = parse_text(RECIPE.replace("vectors.txt", str(elsewhere / "vectors.txt")), "recipe.yaml")
    assert start_of(whole, data) == [8, 9, 10], "a whole path stays"


def test_vectors_that_cannot_be_used_are_named_with_line_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Outcome]
) -> None:
    data, elsewhere = folders(tmp_path)
    monkeypatch.chdir(elsewhere)
    (elsewhere / "recipe.yaml").write_text(RECIPE)
    place = data / "vectors.txt"
    place.write_text("good 1 x\n")
    found = cli("check", "recipe.yaml", "--data", "../data")
    assert found.code == 1
    said = "error: recipe.yaml line 5: inputs.text.vectors is 'vectors.txt'"
    assert found.err.startswith(f"{said}: '../data/vectors.txt', line 1: could not convert string to float")
    place.unlink()
    for command in (["check"], ["train", "-o", "run"], ["explain"]):
        found = cli(command[0], "recipe.yaml", "--data", data, *command[1:])
        assert found.code == 1
        assert found.err.startswith(f"{said}, but there is no file '{place}'; relative paths begin at the folder of")
    assert not Path("run").exists()
    assert cli("explain", "recipe.yaml").code == 0, "shapes can be looked at without any file"


def test_a_training_part_without_text_is_refused() -> None:
    with pytest.raises(DataError, match="input 'text': the training part has no text at all; expected some words"):
        made(np.array([None, None], object))


def recipe(inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"inputs": inputs, "outputs": {"mood": {"kind": "category"}}, **more}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            recipe({"a": {"kind": "text"}, "b": {"kind": "text"}}),
            r"inputs.a has a time axis of its own, so b cannot stand beside it; .* columns: \[a, b\]",
        ),
        (
            recipe({"a": {"kind": "text"}}, outputs={"tags": {"kind": "labels"}}),
            "inputs.a makes its own steps; give the words as lists",
        ),
    ],
)
def test_parts_that_do_not_fit_are_named(document: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        SequenceModel(parse_recipe(document))


def fitted_model(texts: list[Any]) -> tuple[SequenceModel, pl.DataFrame]:
    frame = pl.DataFrame({"a": texts, "mood": ["x", "y"] * (len(texts) // 2)})
    model = SequenceModel(parse_recipe(recipe({"a": {"kind": "text", "max_length": 4}})))
    model.fit({"a": frame["a"].to_numpy()}, {"mood": frame["mood"].to_numpy()})
    model.build()
    return model.eval(), frame


def test_a_column_of_brackets_is_still_text() -> None:
    """What looks like lists to the reader of tables is read as it stands."""
    model, frame = fitted_model(["[1, 2]", "[3]"])
    dataset = read_dataset(model, frame, learn=False)
    encoded = encode(dataset.segments, model.inputs, {})
    batch = cut(encoded, coming_places(model, dataset), model.inputs, {})
    assert batch.lengths.tolist() == batch.origins.tolist() == [4, 3]


def test_a_text_among_series_is_refused() -> None:
    model = SequenceModel(parse_recipe(recipe({"a": {"kind": "text"}}, data={"time": "day"})))
    with pytest.raises(RecipeError, match="an answer for a whole sequence needs a table of examples"):
        read_dataset(model, pl.DataFrame({"day": ["2024-01-01"], "a": ["x"], "mood": ["y"]}))


def test_a_model_of_texts_does_not_stream() -> None:
    model, _ = fitted_model(["a", "b"])
    with pytest.raises(StreamingError, match=r"input 'a' is taken apart as a whole, .*; use predict"):
        Stream(model)
