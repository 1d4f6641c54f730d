"""The decoder: a whole text at once is the text token by token, and a search scores as the decoder itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from seqloom.cells.gru import GRU
from seqloom.cells.lstm import LSTM
from seqloom.layers.attention import Additive, MultiHead, Multiplicative
from seqloom.layers.decoder import Decoder, DecoderState
from seqloom.layers.recurrent import Recurrent
from seqloom.search import Next, beam, greedy
from seqloom.sequences import Sequences
from seqloom.state import map_state, select

V, END, BEGIN = 7, 1, 2
OPTIONS: dict[str, dict[str, Any]] = {
    "additive": {"attention": lambda q, m: Additive(q, m, 4)},
    "fed": {"attention": lambda q, m: Additive(q, m, 4), "input_feeding": True},
    "two layers, fed": {"attention": Multiplicative, "input_feeding": True, "num_layers": 2, "cell": LSTM},
    "heads": {"attention": lambda q, m: MultiHead(q, m, 3), "tied": False},
}
every = pytest.mark.parametrize("name", OPTIONS)


def made(name: str) -> tuple[Recurrent, Decoder]:
    torch.manual_seed(3)
    source = Recurrent(LSTM, 2, 3, bidirectional=True).double()
    settings = {"cell": GRU, "size": 5, "hidden_size": 6, "num_layers": 1, **OPTIONS[name]}
    decoder = Decoder(source, V, **settings).double()
    for weight in decoder.parameters():
        torch.nn.init.normal_(weight, std=0.7)
    return source, decoder


def begun(source: Recurrent, decoder: Decoder, rows: slice = slice(None)) -> DecoderState:
    torch.manual_seed(4)
    read = Sequences(torch.randn(4, 5, 2, dtype=torch.float64)[rows], torch.tensor([3, 0, 5, 1])[rows])
    return decoder.begin(*source(read))


def tokens() -> Sequences:
    return Sequences(torch.tensor([[2, 4, 5, 3], [2, 0, 0, 0], [0, 0, 0, 0], [2, 6, 6, 0]]), torch.tensor([4, 1, 0, 3]))


@every
def test_a_whole_text_is_its_tokens_one_by_one(name: str) -> None:
    source, decoder = made(name)
    given = tokens()
    whole = decoder(given, begun(source, decoder))
    for row, length in enumerate(given.lengths.tolist()):
        state = begun(source, decoder, slice(row, row + 1))
        for u in range(length):
            one = decoder(Sequences.full(given.values[row : row + 1, u : u + 1]), state)
            torch.testing.assert_close(one.features[0, 0], whole.features[row, u])
            torch.testing.assert_close(
                one.weights[0, 0, : (3, 0, 5, 1)[row]], whole.weights[row, u, : (3, 0, 5, 1)[row]]
            )
            state = one.state
        map_state(lambda a, b: torch.testing.assert_close(a, b) or a, state.core, select(whole.state.core, [row]))
        if state.fed is not None:
            torch.testing.assert_close(state.fed, select(whole.state.fed, [row]))


@every
def test_what_padding_holds_is_irrelevant(name: str) -> None:
    source, decoder = made(name)
    given = tokens()
    dirty = given.with_values(torch.where(given.valid, given.values, 6))
    for one, other in zip(
        decoder(given, begun(source, decoder)).state.core,
        decoder(dirty, begun(source, decoder)).state.core,
        strict=True,
    ):
        map_state(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0) or a, one, other)


def stepping(decoder: Decoder) -> Any:
    def step(last: Tensor, state: DecoderState) -> Next:
        found = decoder(Sequences.full(last.unsqueeze(1)), state)
        return Next(torch.log_softmax(decoder.logits(found.features[:, 0]), dim=-1), found.state, found.weights[:, 0])

    return step


@every
@torch.no_grad()
def test_a_beam_scores_a_text_as_the_decoder_does(name: str) -> None:
    source, decoder = made(name)
    state, start = begun(source, decoder), torch.full((4,), BEGIN)
    found = beam(stepping(decoder), state, start, end=END, max_length=6, beam_size=4, n_best=3, coverage=0.1)
    for row in range(4):
        for k in range(3):
            text = found.tokens[row, k, : found.lengths[row, k]]
            told = decoder(
                Sequences.full(torch.cat([start[:1], text[:-1]]).unsqueeze(0)),
                begun(source, decoder, slice(row, row + 1)),
            )
            scores = torch.log_softmax(decoder.logits(told.features), dim=-1)[0]
            torch.testing.assert_close(scores.gather(1, text.unsqueeze(1)).sum(), found.scores[row, k])
    plain = greedy(stepping(decoder), state, start, end=END, max_length=6)
    one = beam(stepping(decoder), state, start, end=END, max_length=6, beam_size=1)
    assert torch.equal(plain.tokens, one.tokens)


@every
def test_every_weight_learns(name: str) -> None:
    source, decoder = made(name)
    decoder.logits(decoder(tokens(), begun(source, decoder)).features).square().sum().backward()
    idle = [name for name, weight in decoder.named_parameters() if weight.grad is None or not weight.grad.any()]
    # A shift of all keys shifts all scores alike, so with heads the weights do not depend on it.
    assert idle == [] or idle == ["attention.key.bias"]


def test_tying_shares_the_embedding() -> None:
    tied, free = made("additive")[1], made("heads")[1]
    assert tied.output is None
    assert free.output is not None
    assert tied.logits(torch.eye(5).double()).T.sub(tied.bias.unsqueeze(1)).allclose(tied.embedding.weight)
