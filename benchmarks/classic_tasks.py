"""The classic tests of long memory, as tables and recipes like any other.

adding   Hochreiter & Schmidhuber, Long short-term memory, 1997: the sum of two marked numbers among many
copy     the same paper's and Arjovsky, Shah & Bengio, 2016: repeat ten symbols after a long silence
digits   Le, Jaitly & Hinton, 2015, with scikit-learn's 8 x 8 digits: an image, one pixel at a time
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

SYMBOLS, BLANK, GO = "abcdefgh", "_", ">"
COPIED = 10


def adding(rows: int, steps: int, seed: int = 0) -> pl.DataFrame:
    """Numbers in 0..1, of which one in each half is marked; `sum` is that of the two."""
    random = np.random.default_rng([seed, steps])
    values = random.uniform(0, 1, (rows, steps))
    marks = np.zeros((rows, steps))
    marks[np.arange(rows), random.integers(0, steps // 2, rows)] = 1
    marks[np.arange(rows), random.integers(steps // 2, steps, rows)] = 1
    total = (values * marks).sum(axis=1)
    return pl.DataFrame({"value": values.tolist(), "mark": marks.tolist(), "sum": total})


def adding_recipe(core: dict[str, Any], training: dict[str, Any]) -> dict[str, Any]:
    """One number for a sequence."""
    inputs = {"value": {"kind": "series"}, "mark": {"kind": "series"}}
    return _recipe(inputs, {"sum": {"kind": "number"}}, core, training)


def copy(rows: int, silence: int, seed: int = 0, copied: int = COPIED) -> pl.DataFrame:
    """Symbols, silence, a sign to go; at the last steps, which alone are scored, the symbols are to be said again."""
    random = np.random.default_rng([seed, silence])
    said = [[SYMBOLS[k] for k in row] for row in random.integers(0, len(SYMBOLS), (rows, copied))]
    heard = [[*word, *BLANK * (silence - 1), GO, *BLANK * copied] for word in said]
    answer = [[*[None] * (copied + silence), *word] for word in said]
    return pl.DataFrame({"heard": heard, "answer": answer}, schema_overrides={"answer": pl.List(pl.String)})


def copy_recipe(core: dict[str, Any], training: dict[str, Any]) -> dict[str, Any]:
    """One class for each step."""
    return _recipe({"heard": {"kind": "category", "role": "past"}}, {"answer": {"kind": "labels"}}, core, training)


def digits() -> pl.DataFrame:
    """1797 images, 64 steps each."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    pixels, digit = found.data[order], found.target[order]
    return pl.DataFrame({"pixel": pixels.tolist(), "digit": [f"d{k}" for k in digit]})


def digits_recipe(core: dict[str, Any], training: dict[str, Any]) -> dict[str, Any]:
    """One class for a sequence."""
    return _recipe({"pixel": {"kind": "series"}}, {"digit": {"kind": "category"}}, core, training)


def _recipe(
    inputs: dict[str, Any], outputs: dict[str, Any], core: dict[str, Any], training: dict[str, Any]
) -> dict[str, Any]:
    return {
        "data": {"split": {"valid": 0.15, "test": 0.15}},
        "inputs": inputs,
        "core": core,
        "outputs": outputs,
        "training": {"threads": 1, **training},
    }
