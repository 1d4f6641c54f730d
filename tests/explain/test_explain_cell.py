"""A cell in words: what is printed follows from the cell itself."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from seqloom.cells.cell import Cell
from seqloom.explain.cell import draw_cell, explain_cell
from seqloom.explain.notation import readable
from seqloom.lookup import find, names

CELLS = [find("cells", name, Cell) for name in names("cells")]


class LeakState(NamedTuple):
    m: Tensor


class Leak(Cell):
    """A user's own cell."""

    equations = ("k = relu(W @ x)", "m_next = decay * m + (1 - decay) * k", "y = 2 * m_next")
    output = "y"
    source = "nobody"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.W = nn.Parameter(torch.zeros(hidden_size, input_size))
        self.decay = nn.Parameter(torch.zeros(hidden_size + 2 * input_size + 1))

    def initial_state(self, batch_size: int) -> LeakState:
        return LeakState(self.W.new_zeros(batch_size, 2 * self.hidden_size))

    def step(self, projected: Tensor, state: LeakState) -> tuple[Tensor, LeakState]:
        return state.m, state


@pytest.mark.parametrize("kind", CELLS)
def test_text_counts_the_weights_that_the_example_has(kind: type[Cell]) -> None:
    count = sum(weight.numel() for weight in kind(32, 64).parameters())
    text = explain_cell(kind)
    assert f"= {count:,} with I = 32, H = 64" in text
    formula = text.split("Parameters\n")[1].split(" = ")[0].strip()
    product = re.sub(r"(\d)([HI])", r"\1*\2", formula.replace("·", "*"))
    assert eval(product, {"I": 32, "H": 64}) == count


@pytest.mark.usefixtures("not_compiled")
def test_lstm_in_words() -> None:
    text = explain_cell(find("cells", "lstm", Cell))
    for line in (
        "  i_t = σ(W_ii x_t + b_ii + W_hi h_{t-1} + b_hi)\n",
        "  c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t\n",
        "  h_t = o_t ⊙ tanh(c_t)\n",
        "Hochreiter & Schmidhuber",
        "  h  (B, H)\n  c  (B, H)\n",
        "  weight_ih  (4H, I)\n",
        "  bias_hh    (4H,)\n",
        "stacked in the order i, f, g, o",
        "4H·I + 4H·H + 8H = 25,088",
        "cpu)\n  fused\n    not native: ",
    ):
        assert line in text


@pytest.mark.usefixtures("not_compiled")
def test_a_cell_of_ones_own_in_words() -> None:
    text = explain_cell(Leak)
    for line in (
        "  k_t = relu(W x_t)\n  m_t = decay ⊙ m_{t-1} + (1 - decay) ⊙ k_t\n  y_t = 2 m_t\n",
        "  m  (B, 2H)\n",
        "  decay  (H + 2I + 1,)\n",
        f"= {64 * 32 + 64 + 64 + 1:,} with",
        "  reference\n    not native: the native kernels are not compiled here\n"
        "    not native_scan: the native kernels are not compiled here\n"
        "    not fused: torch has no fused function for Leak\n",
    ):
        assert line in text
    assert "stacked" not in text
    assert "<title>Leak cell</title>" in draw_cell(Leak)


def test_brackets_stay_where_they_matter() -> None:
    assert readable(["a = x - (x - x)", "b = (x - x) - x", "c = -(x + x)", "d = (W @ x) ** 2"]) == [
        "a_t = x_t - (x_t - x_t)",
        "b_t = x_t - x_t - x_t",
        "c_t = -(x_t + x_t)",
        "d_t = (W x_t)^2",
    ]
