"""What is kept of attention for the report: the weights of the best text over the steps of its own row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from catalogue import BY_NAME, build
from seqloom import attended
from seqloom.attended import EXAMPLES, attention_maps, spread
from seqloom.batch import cut
from seqloom.outputs.text import Text
from seqloom.predict import answer
from seqloom.sequences import Sequences
from seqloom.tokenizer import BEGIN


def maps(case: str) -> tuple[Any, dict[str, Any]]:
    built = build(BY_NAME[case])
    answers = answer(built.model, built.encoded, built.places).values
    return built, attention_maps(built.model, built.dataset.segments, built.encoded, built.places, answers)


@pytest.mark.parametrize("case", ["text-texts-text", "text-examples-all-front", "text-texts-both-ways"])
def test_weights_are_those_of_the_decoder_told_the_same_tokens(case: str) -> None:
    built, found = maps(case)
    (output,) = built.model.outputs.values()
    assert isinstance(output, Text)
    codes = {word: code for code, word in enumerate(output.tokenizer.words)}
    examples = found["outputs"]["reply"]
    assert [e["id"] for e in examples] == [built.dataset.segments.ids[k] for k in spread(36, EXAMPLES)]
    for example in examples:
        row = built.dataset.segments.ids.index(example["id"])
        told = torch.tensor([[BEGIN, *(codes[token] for token in example["tokens"][:-1])]])
        place = built.places.take(slice(row, row + 1))
        with torch.no_grad():
            reading, _ = built.model.read(cut(built.encoded, place, built.model.inputs, {}))
            state = output.decoder.begin(reading.states, reading.final)
            weights = output.decoder(Sequences.full(told), state).weights[0]
        shown = np.array(example["weights"]).reshape(len(example["tokens"]), -1)
        np.testing.assert_allclose(shown, weights.numpy()[:, : shown.shape[1]], atol=2e-4)
        assert len(shown) == len(example["tokens"])
        assert example["tokens"][-1] == "[end]"
        if shown.shape[1]:
            np.testing.assert_allclose(shown.sum(axis=1), 1, atol=1e-2)


def test_each_column_has_the_token_that_was_read() -> None:
    _, found = maps("text-texts-text")
    for example in found["outputs"]["reply"]:
        words = next(given["words"] for given in example["inputs"] if given["name"] == "review")
        assert len(words) == len(example["weights"][0])


def test_only_what_is_written_has_maps() -> None:
    assert maps("category-texts-text")[1] == {}


@pytest.mark.parametrize(("count", "expected"), [(0, []), (1, [0]), (3, [0, 1, 2]), (19, [*range(0, 20, 2)])])
def test_examples_are_spread_from_the_first_to_the_last(count: int, expected: list[int]) -> None:
    assert spread(count, 10) == expected


def test_of_long_examples_the_last_steps_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    _, whole = maps("text-texts-text")
    monkeypatch.setattr(attended, "STEPS", 2)
    _, bounded = maps("text-texts-text")
    cut_off = 0
    for full, part in zip(whole["outputs"]["reply"], bounded["outputs"]["reply"], strict=True):
        steps = len(full["weights"][0])
        assert part["first"] == max(steps - 2, 0) + 1
        assert part["weights"] == [row[-2:] for row in full["weights"]]
        assert part["inputs"][0]["words"] == full["inputs"][0]["words"][-2:]
        cut_off += steps > 2
    assert cut_off
