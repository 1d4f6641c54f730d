"""Tables with one example per row."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from seqloom.data.columns import ColumnUse
from seqloom.data.examples import read_examples
from seqloom.data.ledger import Ledger
from seqloom.data.segments import Segments
from seqloom.data.settings import DataSettings
from seqloom.errors import PreflightError

X = ColumnUse("x", "number", "past")
TAGS = ColumnUse("tags", "text", "target")
LABEL = ColumnUse("label", "text", "target")


def read(rows: dict[str, object], uses: list[ColumnUse], **settings: object) -> tuple[Segments, Ledger]:
    ledger = Ledger()
    frame = pl.DataFrame(rows)
    return read_examples(frame, DataSettings.model_validate(settings), uses, ledger), ledger


def test_lists_become_steps_and_single_cells_static() -> None:
    segments, ledger = read(
        {"x": [[1.0, None], [], [3.0]], "tags": [["a", "b"], [], ["c"]], "label": ["p", "q", "p"]}, [X, TAGS, LABEL]
    )
    assert segments.ids == ["1", "2", "3"]
    assert segments.offsets.tolist() == [0, 2, 2, 3]
    assert np.array_equal(segments.steps["x"], [1.0, np.nan, 3.0], equal_nan=True)
    assert segments.steps["tags"].tolist() == ["a", "b", "c"]
    assert segments.static["label"].tolist() == ["p", "q", "p"]
    assert segments.times is None
    assert [problem.message for problem in ledger.problems] == [
        "column 'x' has 1 empty lists: row 2.",
        "column 'tags' has 1 empty lists: row 2.",
    ]


def test_features_of_a_step_and_lists_written_in_csv_cells() -> None:
    segments, _ = read({"x": ["[[1, 2], [3, 4]]", " [[5, 6]] "]}, [X])
    assert segments.steps["x"].tolist() == [[1, 2], [3, 4], [5, 6]]
    array = pl.DataFrame({"x": pl.Series([[1.0, 2.0], [3.0, 4.0]], dtype=pl.Array(pl.Float64, 2))})
    assert read_examples(array, DataSettings(), [X], Ledger()).steps["x"].tolist() == [1, 2, 3, 4]


def test_static_lists_are_vectors() -> None:
    use = ColumnUse("v", "number", "static")
    segments, ledger = read({"v": [[1, 2], None, [3, 4]]}, [use])
    assert np.array_equal(segments.static["v"], [[1, 2], [np.nan, np.nan], [3, 4]], equal_nan=True)
    assert ledger.errors == []
    _, ledger = read({"v": [[1, 2], [5], [3, 4]]}, [use])
    assert (
        "column 'v', row 2: the vector has shape (1,); expected 2 numbers as in most rows" in ledger.errors[0].message
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            {"x": [[1], [1, 2]], "tags": [["a"], ["b"]]},
            "row 2: the lists differ in length: x 2, tags 1; expected one length per row",
        ),
        (
            {"x": [[1], None], "tags": [["a"], ["b"]]},
            "column 'x', row 2: the list is missing; expected a list in every row",
        ),
        ({"x": ["[1]", "[oops]"], "tags": [["a"], ["b"]]}, "column 'x', row 2: '[oops]' is no"),
        ({"x": [[1.0], [float("inf")]], "tags": [["a"], ["b"]]}, "column 'x', row 2: item 1 is infinite"),
        ({"x": [["1"], ["b"]], "tags": [["a"], ["b"]]}, "column 'x', row 1: '1' is not a number"),
        (
            {"x": ["[[1, 2], [1]]", "[1]"], "tags": [["a", "b"], ["b"]]},
            "the steps differ in size: a list of 1, a list of 2",
        ),
        (
            {"x": ["[[1, 2]]", "[1]"], "tags": [["a"], ["b"]]},
            "column 'x', row 2: a step has a single number, in earlier rows 2 numbers",
        ),
    ],
)
def test_bad_lists_are_named(rows: dict[str, object], said: str) -> None:
    _, ledger = read(rows, [X, TAGS])
    assert said in ledger.errors[0].message


@pytest.mark.parametrize(
    ("cells", "row", "said", "count"),
    [
        ([1.5, None, 2.0], 1, "1.5", 3),
        (["[1]", "two", "", "[4]"], 2, "'two'", 2),
        ([None, None], 1, "None", 2),
    ],
)
@pytest.mark.parametrize(
    "use", [X, ColumnUse("x", "number", "known"), ColumnUse("x", "number", "target", next_asked=True)]
)
def test_single_values_in_place_of_lists_are_named(
    use: ColumnUse, cells: list[object], row: int, said: str, count: int
) -> None:
    _, ledger = read({"x": cells}, [use])
    (problem,) = ledger.errors
    assert (problem.code, problem.row, problem.count) == ("no-list", row, count)
    assert problem.message == (
        f"column 'x', row {row}: {said} is no list; expected a list of steps in every row, [] if the sequence is empty "
        f"({count} such rows). Where rows are steps, name their dates in data.time."
    )


def test_ids_and_split_columns_are_read_along() -> None:
    rows = {"x": [[1], [2]], "name": ["a", None], "part": ["train", "test"], "who": ["u", "v"]}
    segments, ledger = read(rows, [X], id="name", split={"column": "part", "group": "who"})
    assert segments.ids == ["a", "2"]
    assert segments.static["part"].tolist() == ["train", "test"]
    assert segments.static["who"].tolist() == ["u", "v"]
    assert "column 'name', row 2: the name of the example is missing" in ledger.errors[0].message
    with pytest.raises(PreflightError, match=r"there is no column 'whom'. Did you mean 'who'"):
        read(rows, [X], split={"group": "whom"})
