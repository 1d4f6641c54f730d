"""The laws of `Sequences`: valid steps are kept, padding is never read."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqloom.sequences import Ragged, Sequences

laws = settings(max_examples=30, deadline=None, derandomize=True)
NAN = float("nan")


@st.composite
def batches(draw: st.DrawFn) -> Sequences:
    """Rows of distinct numbers, (B, T, 2), with NaN in the padding."""
    lengths = draw(st.lists(st.integers(0, 5), min_size=0, max_size=4))
    T = max(lengths, default=0) + draw(st.integers(0, 2))
    values = torch.arange(1.0, 1 + len(lengths) * T * 2).reshape(len(lengths), T, 2)
    for row, length in enumerate(lengths):
        values[row, length:] = NAN
    return Sequences(values, torch.tensor(lengths, dtype=torch.int64))


def equal(found: list[Tensor], expected: list[Tensor]) -> bool:
    return len(found) == len(expected) and all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@laws
@given(batches())
def test_unpad_keeps_the_valid_steps(batch: Sequences) -> None:
    rows = batch.unpad()
    assert [len(row) for row in rows] == batch.lengths.tolist()
    assert not any(row.isnan().any() for row in rows)
    for row, values in zip(rows, batch.values, strict=True):
        assert torch.equal(row, values[: len(row)])


@laws
@given(batches())
def test_pad_undoes_unpad_with_zeros_behind(batch: Sequences) -> None:
    if not len(batch.lengths):
        return
    back = Sequences.pad(batch.unpad())
    assert torch.equal(back.lengths, batch.lengths)
    assert back.values.shape[1] == int(batch.lengths.max())
    assert torch.equal(back.values, batch.zero_padding().values[:, : back.values.shape[1]])


@laws
@given(batches())
def test_masks_say_where_the_steps_are(batch: Sequences) -> None:
    valid = [[step < length for step in range(batch.values.shape[1])] for length in batch.lengths.tolist()]
    assert batch.valid.tolist() == valid
    assert torch.equal(batch.padding_mask, ~batch.valid)
    assert batch.is_full == all(all(row) for row in valid)


@laws
@given(batches())
def test_zero_padding_clears_the_rest_and_lets_no_gradient_through(batch: Sequences) -> None:
    values = batch.values.clone().requires_grad_()
    cleared = batch.with_values(values).zero_padding()
    assert torch.equal(cleared.values[batch.padding_mask], torch.zeros_like(batch.values[batch.padding_mask]))
    assert equal(cleared.unpad(), batch.unpad())
    (gradient,) = torch.autograd.grad(cleared.values.sum(), values)
    assert torch.equal(gradient, batch.valid.unsqueeze(2).expand_as(gradient).to(gradient))


@laws
@given(batches())
def test_reverse_turns_each_row_and_twice_is_nothing(batch: Sequences) -> None:
    assert equal(batch.reverse().unpad(), [row.flip(0) for row in batch.unpad()])
    torch.testing.assert_close(batch.reverse().reverse().values, batch.values, rtol=0, atol=0, equal_nan=True)


@laws
@given(batches().filter(lambda batch: batch.values.shape[1] > 0))
def test_last_is_the_final_valid_step(batch: Sequences) -> None:
    expected = [row[-1] if len(row) else torch.zeros(2) for row in batch.unpad()]
    assert equal(list(batch.last()), expected)


@laws
@given(batches(), st.data())
def test_split_chunks_join_to_the_whole(batch: Sequences, data: st.DataObject) -> None:
    T = batch.values.shape[1]
    cuts = sorted(data.draw(st.lists(st.integers(0, T), max_size=3)))
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, T], strict=True)]
    chunks = batch.split(sizes)
    assert [chunk.values.shape[1] for chunk in chunks] == sizes
    for row, parts in enumerate(zip(*(chunk.unpad() for chunk in chunks), strict=True)):
        assert torch.equal(torch.cat(parts), batch.unpad()[row])


@laws
@given(batches().filter(lambda batch: len(batch.lengths) > 0), st.data())
def test_select_takes_rows_with_their_lengths(batch: Sequences, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(batch.lengths) - 1), max_size=5))
    chosen = batch.select(torch.tensor(rows, dtype=torch.int64))
    assert equal(chosen.unpad(), [batch.unpad()[row] for row in rows])


def test_last_of_no_steps_at_all_is_zero() -> None:
    assert torch.equal(Sequences(torch.zeros(2, 0, 3), torch.tensor([0, 0])).last(), torch.zeros(2, 3))


def test_full_has_no_padding() -> None:
    full = Sequences.full(torch.zeros(2, 3, 1))
    assert full.lengths.tolist() == [3, 3]
    assert full.lengths.dtype == torch.int64
    assert full.is_full


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        (torch.tensor([1.0, 0.5]), TypeError, "expected absolute step counts as torch.int64"),
        (torch.tensor([1, 2], dtype=torch.int32), TypeError, "torch.int32"),
        (torch.tensor([1, 2, 3]), ValueError, r"shape \(3,\); expected \(2,\), one per row"),
        (torch.tensor([1, 4]), ValueError, r"\[1, 4\] leave 0\.\.3"),
        (torch.tensor([-1, 3]), ValueError, r"\[-1, 3\] leave 0\.\.3"),
    ],
)
def test_wrong_lengths_are_refused(lengths: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Sequences(torch.zeros(2, 3, 1), lengths)


def test_ragged_rows_are_padded_and_lie_where_the_offsets_say() -> None:
    ragged = Ragged(torch.tensor([0, 2, 2, 5]), torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]]))
    assert ragged.lengths.tolist() == [2, 0, 3]
    rows = ragged.rows(torch.tensor([2, 0, 1, 2]), filler=-1.0)
    assert rows.lengths.tolist() == [3, 2, 0, 3]
    assert rows.values.squeeze(-1).tolist() == [[3, 4, 5], [1, 2, -1], [-1, -1, -1], [3, 4, 5]]


def test_ragged_rows_of_nothing() -> None:
    ragged = Ragged(torch.tensor([0, 0]), torch.zeros(0, 2))
    assert ragged.rows(torch.tensor([0, 0])).values.shape == (2, 0, 2)
    assert ragged.rows(torch.tensor([], dtype=torch.int64)).values.shape == (0, 0, 2)
