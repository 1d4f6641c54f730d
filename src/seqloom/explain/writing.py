"""What writes a text, as stages: bridge, embedding, decoder, attention, the next token, search."""

from __future__ import annotations

from typing import Any

import torch

from seqloom.explain.stack import lower, stack_stages
from seqloom.explain.stage import Stage, count, saved, watched
from seqloom.kernels import choose
from seqloom.layers.decoder import Decoder
from seqloom.outputs.output import Reading
from seqloom.outputs.text import Text, TextSettings
from seqloom.sequences import Sequences
from seqloom.state import size


def writing_stages(output: Text, reading: Reading) -> list[Stage]:
    """The parts of a text output, in the order in which a token passes them.

    They are measured on as many told tokens as steps were read, at most `max_length`.
    """
    decoder, name = output.decoder, output.name
    B, S, _ = reading.states.values.shape
    U = min(output.settings.max_length, max(S, 1))
    told = torch.zeros(B, U, dtype=torch.int64)
    embedded, kept = watched(decoder.embedding, lambda: decoder.embedding(told))
    note = f"{U} tokens told while training, of at most {output.settings.max_length}"
    embedding = Stage(f"{name} tokens, embedded", tuple(embedded.shape), count(decoder.embedding), note, kept)
    stack, outputs = stack_stages(
        decoder.core,
        Sequences.full(_read(decoder, embedded)),
        name=f"{name} decoder",
        after=f"{name}'s attention asks with every token",
    )
    if decoder.input_feeding:
        stack = [_one_by_one(stage, decoder, layer, B) for layer, stage in enumerate(stack)]
    looked, features = _attention(output, reading, outputs)
    logits, kept = saved(decoder, lambda: decoder.logits(features))
    own = decoder.bias.numel() + (0 if decoder.output is None else count(decoder.output))
    said = "told apart by the embedding's own matrix" if decoder.output is None else "told apart by a matrix of its own"
    each = Stage(f"output {name}", tuple(logits.shape), own, f"{output.shape.value}; tokens are {said}", kept)
    return [_bridge(output, reading), embedding, *stack, *looked, each, _search(output, B)]


def _bridge(output: Text, reading: Reading) -> Stage:
    """From the final state of what has read to the state that writing begins with."""
    B = len(reading.origins)
    decoder = output.decoder
    begin: Any = decoder.bridge(reading.final, decoder.core.initial_state(B))
    before, after = size(reading.final) // B, size(begin) // B
    note = f"the core's final state, {before} numbers of all its layers and directions, to the decoder's"
    return Stage(f"{output.name} bridge", (B, after), count(decoder.bridge), note, size(begin))


def _read(decoder: Decoder, embedded: torch.Tensor) -> torch.Tensor:
    """What the first layer reads: with input feeding, what came of the token before too."""
    return torch.cat([embedded, torch.zeros_like(embedded)], dim=-1) if decoder.input_feeding else embedded


def _one_by_one(stage: Stage, decoder: Decoder, layer: int, rows: int) -> Stage:
    """With input feeding a layer reads one token at a time, in training too; the kernel is the one for that."""
    cell = decoder.core.cells()[layer][0]
    lowered, _ = lower(cell, cell.initial_state(rows))
    one = Sequences.full(torch.zeros(rows, 1, cell.input_size))
    choice = choose(lowered, one, decoder.core.backend)
    return stage._replace(kernel=choice, note=f"{stage.note}; token by token, for the sake of input_feeding")


def _attention(output: Text, reading: Reading, query: Sequences) -> tuple[list[Stage], torch.Tensor]:
    """Looking, and what comes of it: the stages, and the features (B, U, size) that tell the next token."""
    decoder, name = output.decoder, output.name
    (context, weights), kept = _looked(decoder, reading, query)
    note = (
        f"{output.settings.attention}: each token's shares of the {weights.shape[2]} steps that were read, 0 on "
        f"padding; they weigh {context.shape[2]} features"
    )
    looks = Stage(f"{name} attention", tuple(weights.shape), count(decoder.attention), note, kept)
    joined = torch.cat([query.values, context], dim=-1)
    features, kept = saved(decoder.combine, lambda: torch.tanh(decoder.combine(joined)))
    note = "what was remembered and what was looked at, together"
    return [looks, Stage(f"{name} features", tuple(features.shape), count(decoder.combine), note, kept)], features


def _looked(decoder: Decoder, reading: Reading, query: Sequences) -> tuple[tuple[torch.Tensor, torch.Tensor], int]:
    found: dict[str, torch.Tensor] = {}

    def look() -> torch.Tensor:
        memory = decoder.attention.remember(reading.states)
        found["context"], found["weights"] = decoder.attention(query.values, memory)
        return found["weights"]

    weights, kept = saved(decoder.attention, look)
    return (found["context"].detach(), weights), kept


def _search(output: Text, rows: int) -> Stage:
    """Beam search: one token at a time for all texts of all rows."""
    settings, decoder = output.settings, output.decoder
    cell = decoder.core.cells()[0][0]
    lowered, _ = cell.lower(cell.initial_state(1))
    one = Sequences.full(torch.zeros(rows * settings.beam_size, 1, cell.input_size))
    kind = "greedy" if settings.beam_size == 1 else f"beam of {settings.beam_size}"
    held = size(decoder.core.initial_state(1)) + (settings.size if decoder.input_feeding else 0)
    note = (
        f"{kind}, length penalty {settings.length_penalty:g}, {settings.n_best} of them answered; "
        f"{_repetition(settings)}token by token, {held:,} numbers of state for each text"
    )
    shape = (rows, settings.beam_size, settings.max_length)
    return Stage(f"{output.name} search", shape, 0, note, 0, choose(lowered, one, decoder.core.backend))


def _repetition(settings: TextSettings) -> str:
    """What is done against saying the same again, ready to be followed by more."""
    penalty = f"repetition penalty {settings.repetition_penalty:g}; " if settings.repetition_penalty > 1 else ""
    return penalty + (f"no run of {settings.no_repeat} twice; " if settings.no_repeat else "")
