"""A text that is written token by token: a translation, an answer in words, a caption."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
import torch
from pydantic import Field, model_validator
from torch import Tensor

from seqloom.data.ledger import Ledger
from seqloom.data.segments import Column, Segments
from seqloom.errors import DataError
from seqloom.layers.attention import Additive, Attention, MultiHead, Multiplicative
from seqloom.layers.decoder import Decoded, Decoder, DecoderState
from seqloom.layers.recurrent import Recurrent
from seqloom.layers.softmax import softmax_loss
from seqloom.metrics.result import Result
from seqloom.metrics.text import Tokens as ScoredTokens
from seqloom.metrics.text import bleu, score_texts
from seqloom.outputs.output import (
    Array,
    Output,
    OutputSettings,
    Places,
    Reading,
    RivalAnswers,
    Shape,
    Steps,
    Texts,
)
from seqloom.rivals.copy import Copy
from seqloom.rivals.dictionary import Dictionary
from seqloom.scaling import Scale
from seqloom.search import Found, Next, Step, beam, greedy
from seqloom.sequences import Ragged, Sequences
from seqloom.tokenizer import BEGIN, END, MARKS, UNKNOWN, Tokenizer, TokenizerSettings


class TextSettings(TokenizerSettings, OutputSettings):
    """What a recipe may say of a text to be written."""

    tokens: Literal["word", "character", "subword"] = Field(
        "subword",
        description="what is written at each step: subword: pieces of words joined by byte-pair encoding; word: runs "
        "of letters and digits, and single signs; character: each one, spaces too",
    )
    lowercase: bool = Field(False, description="capital letters are written as small ones")
    vocabulary: int = Field(8000, ge=4, description="tokens that can be written at most, the most frequent ones")
    max_length: int = Field(100, ge=1, description="tokens of a text at most, the end mark included")
    size: int = Field(256, ge=1, description="features of a token's embedding")
    hidden_size: int | None = Field(None, ge=1, description="features of the decoder's state; omitted: as the core's")
    num_layers: int = Field(1, ge=1, le=64, description="layers of the decoder, of the core's cell")
    attention: Literal["additive", "multiplicative", "multi_head"] = Field(
        "additive", description="how the decoder looks at the steps that were read"
    )
    heads: int = Field(1, ge=1, description="heads of multi_head attention")
    input_feeding: bool = Field(
        False, description="show the decoder what came of the last token; it then runs token by token, which is slower"
    )
    tied: bool = Field(True, description="one matrix tells tokens apart when they are read and when they are written")
    dropout: float = Field(
        0.0, ge=0, lt=1, description="share dropped of the decoder's embeddings, layers and features"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of each target spread over all tokens")
    teacher_forcing_ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of right tokens among those that the decoder is told in training, reached at its end: it "
        "falls evenly from 1, and the model's own tokens take their places",
    )
    beam_size: int = Field(5, ge=1, description="texts kept side by side while searching; 1 is greedy")
    n_best: int = Field(1, ge=1, description="texts answered for each row, at most beam_size")
    length_penalty: float = Field(0.6, ge=0, description="0: by probability alone, which favours short texts")
    coverage: float = Field(0.0, ge=0, description="how much parts of the input that were hardly looked at count")
    repetition_penalty: float = Field(
        1.0, ge=1, description="log-probabilities of tokens that the text holds already are multiplied by it; 1: none"
    )
    no_repeat: int | None = Field(
        None, ge=1, description="no run of so many tokens stands twice in a text; omitted: no such rule"
    )
    scored_tokens: ScoredTokens = Field(
        "13a", description="how BLEU splits texts, in sacreBLEU's words; none: at spaces, where texts are split already"
    )

    @model_validator(mode="after")
    def _consistent(self) -> TextSettings:
        if self.n_best > self.beam_size:
            raise ValueError(f"n_best is {self.n_best}; expected at most beam_size, {self.beam_size}: widen the beam")
        if self.heads > 1 and self.attention != "multi_head":
            raise ValueError(f"heads is {self.heads}, but attention is {self.attention}; set attention: multi_head")
        return self


class Written(NamedTuple):
    """One text that was written.

    Attributes:
        text: without marks.
        score: its log-probability by the model, the end included.
        tokens: as they were written, the end mark included.
        attention: (U, S) weights over the steps that were read, for each token.
    """

    text: str
    score: float
    tokens: tuple[str, ...]
    attention: Array


class Text(Output):
    """Writes with a `Decoder` that looks at every step of the core and begins from its final state.

    The loss is the cross-entropy of each token, the end mark included, when the tokens before it are told (teacher
    forcing). Where `teacher_forcing_ratio` is below 1, a first pass writes what the model itself would say at each
    place, and a second one is told some of that in place of the truth (scheduled sampling, Bengio et al., 2015, in
    two passes as Mihaylova & Martins, 2019).

    Raw answers are the decoder's features (B, U, size) of each token when the right ones before it are told; the
    scores of all tokens are made of them where they are needed, and never kept.
    """

    Settings = TextSettings
    shape = Shape.OWN
    reads_text = True
    is_class = False
    missing = -1.0

    def __init__(self, name: str, settings: TextSettings) -> None:
        super().__init__(name, settings)
        self.settings = settings
        self.tokenizer: Tokenizer
        self.decoder: Decoder
        self._core: list[Recurrent] = []  # in a list: its weights are the model's

    def connect(self, core: Recurrent) -> None:
        """Run on from this core's state, with its cell."""
        self._core = [core]

    def fit(self, values: Column) -> None:
        """The vocabulary of the training part.

        Raises:
            DataError: the training part has no text.
        """
        texts = [text for text in values.tolist() if text is not None]
        self.tokenizer = Tokenizer.fit(texts, self.settings, self.settings.max_length)
        if len(self.tokenizer) == len(MARKS):
            raise DataError(f"output {self.name!r}: the training part has no text at all; expected texts to learn from")

    def fitted(self) -> dict[str, Any]:
        """The tokenizer as its library writes it."""
        return {"tokenizer": self.tokenizer.to_json()}

    def restore(self, fitted: dict[str, Any]) -> None:
        """The tokenizer."""
        self.tokenizer = Tokenizer.from_json(fitted["tokenizer"])

    def build(self, features: int, joined: int, bidirectional: bool) -> None:
        """The decoder."""
        (core,), settings = self._core, self.settings
        cell = core.cells()[0][0].bare
        hidden = settings.hidden_size or cell.hidden_size
        self.decoder = Decoder(
            core,
            len(self.tokenizer),
            cell=type(cell),
            size=settings.size,
            hidden_size=hidden,
            num_layers=settings.num_layers,
            attention=self._attention(hidden),
            input_feeding=settings.input_feeding,
            tied=settings.tied,
            dropout=settings.dropout,
            backend=core.backend,
            options=core.options,
        )

    def _attention(self, hidden: int) -> Callable[[int, int], Attention]:
        known: dict[str, Callable[[int, int], Attention]] = {
            "additive": lambda query, memory: Additive(query, memory, hidden),
            "multiplicative": Multiplicative,
            "multi_head": lambda query, memory: MultiHead(query, memory, self.settings.heads),
        }
        return known[self.settings.attention]

    def encode(self, values: Column) -> Ragged:
        """The codes of each text and its end mark; no end mark where it is cut off; nothing where it is missing."""
        texts = values.tolist()
        tokens = self.tokenizer.encode(["" if text is None else text for text in texts], self.settings.max_length)
        ended = np.array([text is not None for text in texts], bool) & ~tokens.shortened
        codes = np.insert(tokens.codes, tokens.offsets[1:][ended], END)
        offsets = tokens.offsets + np.concatenate([[0], np.cumsum(ended)])
        return Ragged(torch.from_numpy(offsets), torch.from_numpy(codes))

    def report(self, values: Column, ledger: Ledger) -> None:
        """Texts that are longer than what is learned of them, and tokens that cannot be written."""
        column, longest = self.columns[0], self.settings.max_length
        tokens = self.tokenizer.encode(["" if text is None else text for text in values.tolist()], longest)
        rows = np.flatnonzero(tokens.shortened) + 1
        if len(rows):
            message = (
                f"column '{column}' has {len(rows)} texts of more than {longest} tokens, in {ledger.at_rows(rows)}; "
                f"of each, the first {longest} are learned (outputs.{self.name}.max_length)."
            )
            ledger.add("note", "long-text", message, column=column, row=int(rows[0]), count=len(rows))
        unknown = np.flatnonzero(tokens.codes == UNKNOWN)
        if len(unknown):
            rows = np.unique(np.searchsorted(tokens.offsets, unknown, side="right"))
            message = (
                f"column '{column}': {len(unknown)} of {len(tokens.codes)} tokens are not among the "
                f"{len(self.tokenizer)} that the train part taught, in {ledger.at_rows(rows)}; they cannot be written "
                f"(outputs.{self.name}.vocabulary and tokens)."
            )
            ledger.add("note", "untaught-token", message, column=column, row=int(rows[0]), count=len(unknown))

    def forward(self, reading: Reading) -> Tensor:
        """(B, U, size) features of each token when the right ones before it are told; without targets, of the first."""
        begin = self.decoder.begin(reading.states, reading.final)
        target = reading.targets.get(self.name)
        if target is None:
            return self._features(Sequences.full(torch.full((len(reading.origins), 1), BEGIN)), begin)
        told = _told(target)
        if self.training and self.settings.teacher_forcing_ratio < 1:
            told = self._mixed(told, begin, reading.progress)
        return self._features(told, begin)

    def _features(self, told: Sequences, begin: DecoderState) -> Tensor:
        decoded: Decoded = self.decoder(told, begin)
        return decoded.features

    @torch.no_grad()
    def _mixed(self, told: Sequences, begin: DecoderState, progress: float) -> Sequences:
        """The right tokens, some of them replaced by what the model would have written there."""
        share = 1 - (1 - self.settings.teacher_forcing_ratio) * progress
        own = _told(self._likeliest(self._features(told, begin))).values
        right = torch.rand(own.shape, device=own.device) < share
        return told.with_values(torch.where(right, told.values, own))

    def loss(self, raw: Tensor, target: Tensor, scale: Scale | None) -> Tensor:
        """Cross-entropy over all tokens of all texts; smoothed in training only."""
        known = target >= 0
        if not known.any():
            return raw[known].sum()
        smoothing = self.settings.label_smoothing if self.training else 0.0
        weight, bias = self.decoder.vectors, self.decoder.bias
        return softmax_loss(raw[known], weight, bias, target[known], label_smoothing=smoothing)

    def answers(self, raw: Tensor, scale: Scale | None) -> Array:
        """(B, U) the likeliest token at each place, when the right ones before it are told."""
        found: Array = self._likeliest(raw).double().numpy()
        return found

    def _likeliest(self, features: Tensor) -> Tensor:
        """(B, U) the token with the highest score at each place."""
        return self.decoder.logits(features).argmax(dim=-1)

    def monitor(self, answers: Array, target: Array) -> tuple[str, float]:
        """The share of right tokens, when the right ones before them are told."""
        known = target >= 0
        return "told accuracy", float((answers == target)[known].mean()) if known.any() else float("nan")

    def watch(self, reading: Reading, raw: Tensor, target: Tensor, scale: Scale | None) -> tuple[str, float]:
        """BLEU of what greedy search writes by itself."""
        written = self._texts(self._greedy(reading).tokens[:, 0])
        known = (target >= 0).any(dim=1)
        right = self._texts(target.where(target >= 0, END))
        pairs = [(a, b) for a, b, one in zip(right, written, known.tolist(), strict=True) if one]
        if not pairs:
            return "BLEU-greedy", float("nan")
        return "BLEU-greedy", bleu([a for a, _ in pairs], [b for _, b in pairs], tokens=self.settings.scored_tokens)

    def begin(self, reading: Reading) -> tuple[Step, DecoderState, Tensor]:
        """What any search of `seqloom.search` asks for: a step function, the state and the token to start from."""
        start = torch.full((len(reading.origins),), BEGIN, dtype=torch.int64)
        return self._step, self.decoder.begin(reading.states, reading.final), start

    def _step(self, last: Tensor, state: DecoderState) -> Next:
        found = self.decoder(Sequences.full(last.unsqueeze(1)), state)
        scores = torch.log_softmax(self.decoder.logits(found.features[:, 0]).float(), dim=-1)
        scores[:, [UNKNOWN, BEGIN]] = -torch.inf  # nobody can read them
        return Next(scores, found.state, found.weights[:, 0])

    def _rules(self) -> dict[str, Any]:
        """What holds in every search."""
        settings = self.settings
        return {
            "end": END,
            "max_length": settings.max_length,
            "repetition_penalty": settings.repetition_penalty,
            "no_repeat": settings.no_repeat,
        }

    def _greedy(self, reading: Reading) -> Found:
        step, state, start = self.begin(reading)
        return greedy(step, state, start, **self._rules())

    @torch.no_grad()
    def answer(self, reading: Reading, scale: Scale | None) -> Array:
        """(B, 1 + n_best) `Written`: the greedy text, then the best ones that beam search finds."""
        step, state, start = self.begin(reading)
        settings = self.settings
        found = beam(
            step,
            state,
            start,
            beam_size=settings.beam_size,
            n_best=settings.n_best,
            length_penalty=settings.length_penalty,
            coverage=settings.coverage,
            **self._rules(),
        )
        return np.concatenate([self._written(self._greedy(reading)), self._written(found)], axis=1)

    def _written(self, found: Found) -> Array:
        """(B, K) what a search found, as texts."""
        B, K = found.lengths.shape
        written: Any = np.empty((B, K), dtype=object)
        words = self.tokenizer.words
        assert found.attention is not None
        for row in range(B):
            for k, text in enumerate(self._texts(found.tokens[row])):
                length = int(found.lengths[row, k])
                tokens = tuple(words[code] for code in found.tokens[row, k, :length].tolist())
                attention = found.attention[row, k, :length].double().numpy()
                written[row, k] = Written(text, float(found.scores[row, k]), tokens, attention)
        return written  # type: ignore[no-any-return]

    def _texts(self, tokens: Tensor) -> list[str]:
        """The text of each row (N, U), up to its first end mark."""
        rows = [row[: row.index(END)] if END in row else row for row in tokens.tolist()]
        return [self.tokenizer.decode(row) for row in rows]

    def frame(self, answers: Array, segments: Segments, places: Places) -> pl.DataFrame:
        """One row for each text: id, y, y_hat and its score, the further ones as y_hat-2, score-2, ..., and greedy."""
        columns = self._keys(segments, places)
        rows: list[list[Written]] = answers.tolist()
        for k in range(1, self.settings.n_best + 1):
            suffix = "" if k == 1 else f"-{k}"
            columns[f"y_hat{suffix}"] = pl.Series([row[k].text for row in rows], dtype=pl.String)
            columns[f"score{suffix}"] = pl.Series([row[k].score for row in rows], dtype=pl.Float64)
        columns["greedy"] = pl.Series([row[0].text for row in rows], dtype=pl.String)
        return pl.DataFrame(columns)

    def score(self, frame: pl.DataFrame, segments: Segments, ends: Steps) -> Result:
        """BLEU and chrF of the best texts, and of the greedy ones where the frame has them."""
        also = frame["greedy"].to_list() if "greedy" in frame.columns else None
        return score_texts(frame["y"].to_list(), frame["y_hat"].to_list(), also, tokens=self.settings.scored_tokens)

    def rivals(self, segments: Segments, places: Places, training: Column) -> list[RivalAnswers]:
        """None that needs the targets alone."""
        return []

    def text_rivals(self, segments: Segments, places: Places, training: Column, texts: Texts) -> list[RivalAnswers]:
        """Copying the text that was read, and translating it word for word by a dictionary of the training part."""
        pairs = [(read, right) for read, right in zip(texts.training, training.tolist(), strict=True) if right]
        dictionary = Dictionary.fit([read for read, _ in pairs], [right for _, right in pairs])
        written = {"copy": Copy().write(texts.asked), "word-for-word dictionary": dictionary.write(texts.asked)}
        columns = self._keys(segments, places)
        return [
            RivalAnswers(name, pl.DataFrame({**columns, "y_hat": pl.Series(found, dtype=pl.String)}), ())
            for name, found in written.items()
        ]

    def _keys(self, segments: Segments, places: Places) -> dict[str, Any]:
        return {
            "id": pl.Series([segments.ids[k] for k in places.segment], dtype=pl.String),
            "y": pl.Series(self.read(segments)[places.segment].tolist(), dtype=pl.String),
        }


def _told(target: Tensor) -> Sequences:
    """What is told at each place (B, U) of a text: the begin mark, then the token before."""
    before = target[:, :-1].clamp(min=0)
    return Sequences(torch.cat([torch.full_like(target[:, :1], BEGIN), before], dim=1), (target >= 0).sum(dim=1))
