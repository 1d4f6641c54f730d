"""What pages say of the recorded run of all benchmarks is what stands in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RUN = json.loads((ROOT / "docs" / "benchmarks.json").read_text())
Row = dict[str, Any]


def rows(benchmark: str, name: str, rival: str) -> list[Row]:
    found = [
        row for row in RUN["rows"] if row["benchmark"] == benchmark and row["name"] == name and row["rival"] == rival
    ]
    assert found
    return found


def most(found: list[Row], size: str) -> Row:
    return max(found, key=lambda row: row["sizes"][size])


def ends(found: list[Row], digits: str) -> str:
    ratios = [row["ratio"] for row in found]
    return f"{min(ratios):{digits}} to {max(ratios):{digits}}"


def at_the_limit(row: Row) -> float:
    return float(row["ratio"] / row["share"])


def test_it_is_a_whole_one() -> None:
    assert (RUN["caveat"], RUN["tiny"], RUN["repeats"]) == ("", False, 30)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_the_front_page_says_its_speeds(kind: str) -> None:
    page = (ROOT / "README.md").read_text()
    packed, padded = (
        most(rows("ragged", f"ragged {kind} train", f"nn.{kind}, {way}"), "T")["ratio"] for way in ("packed", "padded")
    )
    assert f"{kind}: `PackedSequence` / padded `nn.{kind}` | {packed:.0f} / {padded:.1f} |" in page
    for what, name in (("training", "train"), ("inference", "forward")):
        (line,) = (line for line in page.splitlines() if line.startswith(f"| {what} on full batches"))
        found = rows("kernels", f"{kind} {name}", f"nn.{kind}")
        assert ends(found, ".2g" if min(row["ratio"] for row in found) < 0.95 else ".1f") in line


def test_the_front_page_says_the_speed_of_steps_and_of_other_cells() -> None:
    page = (ROOT / "README.md").read_text()
    pairs = (("LSTM step", "nn.LSTM"), ("LSTM step", "ONNX Runtime"), ("LSTM step, int8", "ONNX Runtime"))
    torch, onnx, short = ([row for row in rows("stream", *pair) if row["sizes"]["H"] <= 256] for pair in pairs)
    assert f"| {ends(torch, '.0f')} / {ends(onnx, '.1f')} / {ends(short, '.1f')} |" in page
    promised = [row for row in RUN["rows"] if row["benchmark"] == "cells" and row["goal"]]
    assert f"| a plain torch loop | {ends(promised, '.1f')} |" in page


def test_the_page_of_dreams_explains_what_was_measured() -> None:
    page = (ROOT / "docs" / "concepts" / "dreams.md").read_text()
    ragged = most(rows("ragged", "ragged LSTM train", "nn.LSTM, padded"), "T")
    valid, all_steps = ragged["sizes"]["steps"], ragged["sizes"]["B"] * ragged["sizes"]["T"]
    assert f"{valid:,} of {all_steps:,} steps valid" in page
    saved = f"{all_steps / valid:.3g}"
    assert f"{saved} times at equal efficiency" in " ".join(page.split())
    assert f"{ragged['goal']['dream'] / float(saved):.3g} times torch's own speed" in page

    forward, train = rows("kernels", "GRU forward", "nn.GRU"), rows("kernels", "GRU train", "nn.GRU")
    assert max(train, key=lambda row: row["ratio"])["sizes"]["B"] == 1, "large where rows are few"
    assert min(train, key=lambda row: row["ratio"])["sizes"]["H"] == 512, "smallest where products are large"
    for ahead, both in zip(forward, train, strict=True):
        assert ahead["sizes"] == both["sizes"]
        if ahead["goal"] and ahead["sizes"]["H"] >= 256:
            assert ahead["share"] < both["share"], "training stands nearer to its limit"

    large = [row["share"] for row in rows("stream", "LSTM step", "nn.LSTM") if row["goal"] and row["sizes"]["H"] >= 128]
    assert len(large) == 2
    assert min(large) > 0.4, "over two fifths of a step is reading weights"
    distant = most([row for row in rows("stream", "LSTM step", "ONNX Runtime") if row["goal"]], "H")
    assert f"at its full speed ours would be {at_the_limit(distant):.0f} times as fast as theirs" in page
    short = most([row for row in rows("stream", "LSTM step, int8", "ONNX Runtime") if row["goal"]], "H")
    assert distant["ours"] / short["ours"] > 2

    cells = [row for row in RUN["rows"] if row["benchmark"] == "cells" and row["goal"]]
    assert len(cells) == 4
    assert all(at_the_limit(row) < row["goal"]["dream"] == 40 for row in cells)
