"""Inputs: the numbers that each kind makes of a column, and what it says of columns it cannot read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seqloom.data.segments import Segments
from seqloom.errors import DataError
from seqloom.inputs.calendar import Calendar
from seqloom.inputs.category import Category
from seqloom.inputs.input import Input, Role, side_by_side, with_flags
from seqloom.inputs.number import Number
from seqloom.inputs.series import Series
from seqloom.inputs.vector import Vector

NAN = float("nan")


def made(kind: type[Input], **settings: Any) -> Input:
    name = kind.__name__.lower()
    return kind(name, kind.Settings.model_validate({"kind": name, **settings}))


def ready(kind: type[Input], values: Any, **settings: Any) -> Input:
    """Fitted on some values, and built."""
    input = made(kind, **settings)
    input.fit(np.asarray(values))
    input.build()
    return input.eval()


def assert_close(found: Tensor, expected: Any) -> None:
    torch.testing.assert_close(found.double(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6)


def test_numbers_are_standardised_and_flagged() -> None:
    input = ready(Number, [1.0, 3.0, NAN])  # mean 2, deviation 1
    assert_close(input(input.encode(np.array([4.0, NAN])), None), [[2.0, 1.0], [0.0, 0.0]])
    assert input.features == 2
    assert input.fitted() == {"mean": [2.0], "deviation": [1.0]}


def test_a_constant_or_empty_column_keeps_its_units() -> None:
    input = ready(Number, [[7.0, NAN], [7.0, NAN]], columns=["a", "b"])
    assert_close(input(input.encode(np.array([[9.0, 5.0]])), None), [[2.0, 5.0, 1.0, 1.0]])


def test_a_series_by_the_training_part() -> None:
    input = ready(Series, [0.0, 10.0])  # mean 5, deviation 5
    past = torch.tensor([[[10.0], [NAN], [0.0]]], dtype=torch.float64)
    assert_close(input(past, input.scale(past)), [[[1.0, 1.0], [0.0, 0.0], [-1.0, 1.0]]])


def test_a_series_by_its_own_past() -> None:
    """Each row by its own level and spread; a row without any observation by the training part."""
    input = ready(Series, [0.0, 10.0], scale="own")
    past = torch.tensor([[[100.0], [104.0]], [[7.0], [7.0]], [[0.0], [0.0]], [[NAN], [NAN]]], dtype=torch.float64)
    scale = input.scale(past)
    assert scale is not None
    assert_close(scale.loc, [[102.0], [7.0], [0.0], [5.0]])
    assert_close(scale.spread, [[2.0], [0.7], [1.0], [5.0]])
    assert_close(input(past, scale)[..., 0], [[-1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    back = scale.invert(scale.apply(past))
    torch.testing.assert_close(back, past, equal_nan=True)


def test_a_static_series_is_refused() -> None:
    with pytest.raises(
        ValueError, match="a series has values along time; for one number per sequence use kind: number"
    ):
        made(Series, role="static")


def test_categories_and_the_unknown() -> None:
    words = np.array(["b", "a", "b", None], dtype=object)
    input = ready(Category, words)
    assert input.fitted() == {"words": ["b", "a"]}
    codes = input.encode(np.array(["a", "b", "never seen", None], dtype=object))
    assert codes.tolist() == [[2], [1], [0], [0]]
    embedded = input(codes, None)
    assert torch.equal(embedded[2], embedded[3])
    assert not torch.equal(embedded[0], embedded[1])
    assert embedded.shape == (4, input.features)


def test_training_shows_some_values_as_unknown() -> None:
    """So that code 0 is learned: about the declared share, only while training."""
    torch.manual_seed(0)
    input = ready(Category, np.array(["a", "b"], dtype=object), unknown_rate=0.3)
    codes = torch.ones(4000, 1, dtype=torch.int64)
    unknown = input(torch.zeros(1, 1, dtype=torch.int64), None)[0]
    hidden = (input.train()(codes, None) == unknown).all(dim=1).double().mean()
    assert 0.25 < float(hidden) < 0.35
    assert not bool((input.eval()(codes, None) == unknown).all(dim=1).any())


def test_vectors_of_another_size_are_refused() -> None:
    input = ready(Vector, np.eye(3), size=5)
    assert input(input.encode(np.eye(3)), None).shape == (3, 5)
    with pytest.raises(DataError, match="input 'vector': vectors have 4 numbers; expected 3 as in training"):
        input.encode(np.eye(4))


def calendar(stamps: list[str], **settings: Any) -> Tensor:
    input = made(Calendar, **settings)
    input.build()
    found = input.encode(np.array(stamps, "datetime64[us]"))
    assert found.shape == (len(stamps), input.features)
    assert torch.equal(input(found, None), found)
    return found


def test_days_of_the_week_and_months_are_indicators() -> None:
    # 1 January 2024 was a Monday, 29 February 2024 a Thursday, 31 December 1969 a Wednesday.
    found = calendar(["2024-01-01", "2024-02-29", "1969-12-31"], features=["day_of_week", "month"])
    assert found[:, :7].argmax(dim=1).tolist() == [0, 3, 2]
    assert found[:, 7:].argmax(dim=1).tolist() == [0, 1, 11]
    assert_close(found.sum(dim=1), [2.0, 2.0, 2.0])


@pytest.mark.parametrize(
    ("feature", "stamps", "fractions"),
    [
        ("hour", ["2024-01-01T00:30", "2024-05-01T06:00", "1969-12-31T18:00"], [0.0, 0.25, 0.75]),
        ("day_of_month", ["2024-02-01", "2024-02-29", "1969-12-31"], [0.0, 28 / 31, 30 / 31]),
        ("day_of_year", ["2024-01-01", "2024-12-31", "1969-12-31"], [0.0, 365 / 366, 364 / 366]),
    ],
)
def test_cycles_are_sines_and_cosines(feature: str, stamps: list[str], fractions: list[float]) -> None:
    found = calendar(stamps, features=[feature], harmonics=2)
    angle = 2 * np.pi * np.array(fractions)
    assert_close(found, np.stack([np.sin(angle), np.sin(2 * angle), np.cos(angle), np.cos(2 * angle)], axis=1).tolist())


def test_holidays_today_tomorrow_and_yesterday() -> None:
    found = calendar(["2024-07-03", "2024-07-04", "2024-07-05", "2024-07-06"], features=[], holidays="US")
    assert found.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]]
    edge = calendar(["2023-12-31", "2024-01-02"], features=[], holidays="US")
    assert edge.tolist() == [[0, 1, 0], [0, 0, 1]]


def test_a_calendar_needs_dates() -> None:
    input = made(Calendar)
    assert input.role is Role.KNOWN
    segments = Segments(["a"], np.array([0, 2]), {}, {})
    with pytest.raises(DataError, match=r"input 'calendar': a calendar needs dates; name their column in `data\.time`"):
        input.read(segments)


def test_flags_and_columns_side_by_side() -> None:
    assert_close(with_flags(torch.tensor([[1.0, NAN]])), [[1.0, 0.0, 1.0, 0.0]])
    joined = side_by_side([np.array([1.0, 2.0]), np.array([[3.0, 4.0], [5.0, 6.0]])])
    assert joined.tolist() == [[1.0, 3.0, 4.0], [2.0, 5.0, 6.0]]
    assert side_by_side([np.zeros((0, 2)), np.zeros(0)]).shape == (0, 3)


@pytest.mark.parametrize("kind", [Number, Series, Vector])
def test_what_was_fitted_comes_back(kind: type[Input]) -> None:
    values = np.array([[1.0, 2.0], [3.0, 9.0]])
    first, second = ready(kind, values, columns=["a", "b"]), made(kind, columns=["a", "b"])
    second.restore(first.fitted())
    second.build()
    assert torch.equal(first.encode(values), second.encode(values))
    assert second.features == first.features
