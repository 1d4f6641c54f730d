"""A stretch of a text as the answer: where it starts, where it ends, or that the text has none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from pydantic import Field
from torch import Tensor, nn

from seqloom.data.ledger import Ledger
from seqloom.data.segments import Column, Segments
from seqloom.errors import DataError, RecipeError
from seqloom.inputs.input import Input
from seqloom.inputs.text import ReadTokens, Text
from seqloom.metrics.result import Result
from seqloom.metrics.span import score_spans
from seqloom.outputs.output import Array, Output, OutputSettings, Places, Reading, RivalAnswers, Shape, Steps
from seqloom.rivals.word_overlap import WordOverlap, first_sentence
from seqloom.scaling import Scale
from seqloom.sequences import Ragged

NEVER = -1e9  # logit of what may not be chosen


class SpanSettings(OutputSettings):
    """What a recipe may say of a span to be found."""

    within: str | None = Field(None, description="column that answers stand in; omitted: the last of the text input")
    longest: int = Field(20, ge=1, description="tokens of an answer at most")
    no_answer: bool = Field(
        False, description="rows without an answer say that the text has none; otherwise nothing is learned from them"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="share of each step's features dropped")


class Found(NamedTuple):
    """The best span of one row: its tokens `first..last`, both -1 where none is the better answer, and its chance."""

    first: int
    last: int
    chance: float


class Span(Output):
    """Two distributions over the tokens of a text, for the first and the last token of the answer.

    Each of several `columns` holds one text that is right. Whatever place of it the table means, every occurrence
    counts: the loss is -ln of the probability of all of them together, for first and last token
    (the boundary model of Wang and Jiang, 2017, summed over occurrences). With `no_answer` one more choice,
    scored by the largest of a third score of the tokens, says that there is none.
    """

    Settings = SpanSettings
    shape = Shape.SPAN
    reads_text = True
    is_class = False
    missing = 0.0

    def __init__(self, name: str, settings: SpanSettings) -> None:
        super().__init__(name, settings)
        self.settings = settings
        self._text: tuple[Text, ...] = ()  # in a tuple, so that its weights stay the input's

    def attach(self, source: Input) -> None:
        """Answer with stretches of this text.

        Raises:
            RecipeError: it has no column of the name that is asked for.
        """
        super().attach(source)
        assert isinstance(source, Text)
        self._text = (source,)
        within = self.settings.within or source.columns[-1]
        if within not in source.columns:
            raise RecipeError(
                f"outputs.{self.name}.within is {within!r}; expected a column of inputs.{source.name}: "
                f"{', '.join(source.columns)}"
            )
        self.within = source.columns.index(within)

    @property
    def text(self) -> Text:
        """The input whose tokens are chosen from."""
        return self._text[0]

    def read(self, segments: Segments) -> Column:
        """(S, C + A): the texts as the input reads them, then the answers."""
        texts = self.text.read(segments).reshape(len(segments), -1)
        return np.concatenate([texts, super().read(segments).reshape(len(segments), -1)], axis=1)

    def fit(self, values: Column) -> None:
        """Nothing to learn, but something to learn from.

        Raises:
            DataError: no row has an answer.
        """
        answers = self._apart(values)[1] if values.ndim > 1 else values
        if not any(answer is not None for answer in answers.flatten().tolist()):
            raise DataError(
                f"output {self.name!r}: no row of the training part has an answer in {', '.join(self.columns)}; "
                "expected the text of one in most rows"
            )

    def fitted(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, fitted: dict[str, Any]) -> None:
        """Nothing."""

    def build(self, features: int, joined: int, bidirectional: bool) -> None:
        """A linear map of each step's state and of what the core read there: first, last, none."""
        self.decoder = nn.Sequential(nn.Dropout(self.settings.dropout), nn.Linear(features + joined, 3))

    def encode(self, values: Column) -> Ragged:
        """(N, 3) of each token: whether an answer starts there, ends there, and whether it may be chosen.

        In a row that nothing can be learned from, none may.
        """
        texts, answers = self._apart(values)
        tokens = self.text.tokens(texts)
        targets = np.zeros((len(tokens.codes), 3))
        for row, own in enumerate(self._choices(tokens)):
            given = [answer for answer in answers[row] if answer is not None]
            spans = self._occurrences(self._words(texts, row), tokens.spans[own], given)
            if spans or (self.settings.no_answer and not given):
                targets[own, 2] = 1
            for first, last in spans:
                targets[own[first], 0] = targets[own[last], 1] = 1
        return Ragged(torch.from_numpy(tokens.offsets), torch.from_numpy(targets).to(torch.get_default_dtype()))

    def _apart(self, values: Column) -> tuple[Column, Column]:
        columns = len(self.text.columns)
        return values[:, :columns], values[:, columns:]

    def _words(self, texts: Column, row: int) -> str:
        found = texts[row, self.within]
        return "" if found is None else str(found)

    def _choices(self, tokens: ReadTokens) -> Iterator[Steps]:
        """Of each row, the tokens that an answer may be made of."""
        free = (tokens.column == self.within) & (tokens.spans[:, 1] > tokens.spans[:, 0])
        for first, after in zip(tokens.offsets, tokens.offsets[1:], strict=False):
            yield first + np.flatnonzero(free[first:after])

    @staticmethod
    def _occurrences(words: str, spans: Steps, answers: list[str]) -> list[tuple[int, int]]:
        """First and last token of every place at which an answer stands, as far as it is read."""
        found = []
        for answer in dict.fromkeys(answer.strip() for answer in answers):
            start = words.find(answer) if answer else -1
            while start >= 0:
                end = start + len(answer)
                first = int(np.searchsorted(spans[:, 1], start, side="right"))
                last = int(np.searchsorted(spans[:, 0], end, side="left")) - 1
                if first <= last and spans[first, 0] <= start and end <= spans[last, 1]:
                    found.append((first, last))
                start = words.find(answer, start + 1)
        return found

    def report(self, values: Column, ledger: Ledger) -> None:
        """Answers that do not stand in what is read of their text."""
        texts, answers = self._apart(values)
        tokens, absent = self.text.tokens(texts), []
        for row, own in enumerate(self._choices(tokens)):
            given = [answer for answer in answers[row] if answer is not None]
            if given and not self._occurrences(self._words(texts, row), tokens.spans[own], given):
                absent.append(row + 1)
        if absent:
            message = (
                f"outputs.{self.name}: the answers in {ledger.at_rows(absent)} do not stand, letter by letter, in what "
                f"is read of column '{self.text.columns[self.within]}'; nothing is learned from "
                f"these {len(absent)} rows. Mend them, or raise inputs.{self.text.name}.max_length."
            )
            ledger.add("warning", "absent-answer", message, column=self.columns[0], row=absent[0], count=len(absent))

    def forward(self, reading: Reading) -> Tensor:
        """(B, T, 3) scores of each token: first, last, none."""
        raw: Tensor = self.decoder(torch.cat([reading.each_step(), reading.joined.values], dim=-1))
        return raw

    def loss(self, raw: Tensor, target: Tensor, scale: Scale | None) -> Tensor:
        """Mean over the rows that have an answer, or are known to have none."""
        free = target[..., 2] > 0
        rows = free.any(dim=1)
        if not bool(rows.any()):
            return raw.sum() * 0
        raw, target, free = raw[rows], target[rows], free[rows]
        none = self._none(raw, free)
        total = raw.new_zeros(())
        for place in range(2):
            scores = torch.cat([raw[..., place].masked_fill(~free, NEVER), none], dim=1)
            right = target[..., place] > 0
            right = torch.cat([right, ~right.any(dim=1, keepdim=True)], dim=1)
            total = total + (scores.logsumexp(1) - scores.masked_fill(~right, NEVER).logsumexp(1)).mean()
        return total

    def _none(self, raw: Tensor, free: Tensor) -> Tensor:
        """(B, 1) score of there being no answer."""
        if not self.settings.no_answer:
            return raw.new_full((len(raw), 1), NEVER)
        return raw[..., 2].masked_fill(~free, NEVER).amax(dim=1, keepdim=True)

    def known(self, target: Tensor) -> int:
        """Rows that something can be learned from."""
        return int((target[..., 2] > 0).any(dim=1).sum())

    def answers(self, raw: Tensor, scale: Scale | None) -> Array:
        """(B, T, 3) scores; what they mean needs the tokens, see `frame`."""
        scores: Array = raw.double().numpy()
        return scores

    def monitor(self, answers: Array, target: Array) -> tuple[str, float]:
        """Share of rows whose first and last token are both right, or rightly none."""
        right = []
        for scores, goal in zip(answers, target, strict=True):
            own = np.flatnonzero(goal[:, 2])
            if len(own):
                found = self._best(scores[own])
                none = not goal[:, 0].any()
                right.append(none if found.first < 0 else bool(goal[own[found.first], 0] and goal[own[found.last], 1]))
        return "exact", float(np.mean(right)) if right else float("nan")

    def _best(self, scores: Array) -> Found:
        """The likeliest span of at most `longest` tokens, or none, from the scores (n, 3) of the tokens."""
        if not len(scores):
            return Found(-1, -1, 1.0)
        none = scores[:, 2].max() if self.settings.no_answer else NEVER
        start, end = (column - np.logaddexp.reduce([*column, none]) for column in scores[:, :2].T)
        best = Found(-1, -1, -np.inf)
        for length in range(min(self.settings.longest, len(scores))):
            together = start[: len(start) - length] + end[length:]
            first = int(together.argmax())
            if together[first] > best.chance:
                best = Found(first, first + length, float(together[first]))
        neither = 2 * none - sum(np.logaddexp.reduce([*column, none]) for column in scores[:, :2].T)
        if neither > best.chance:
            best = Found(-1, -1, float(neither))
        return best._replace(chance=float(np.exp(best.chance)))

    def frame(self, answers: Array, segments: Segments, places: Places) -> pl.DataFrame:
        """One row for each text: id, y, y_hat (null where there is none), its probability, characters and bytes."""
        values = self.read(segments)[places.segment]
        texts, truth = self._apart(values)
        tokens, spans = self.text.tokens(texts), []
        for row, own in enumerate(self._choices(tokens)):
            found = self._best(answers[row, own - tokens.offsets[row]])
            start, end = (0, 0) if found.first < 0 else tokens.spans[own[[found.first, found.last]], [0, 1]].tolist()
            spans.append((start, end, found.chance))
        return self._frame(segments, places, texts, truth, spans)

    def _frame(
        self, segments: Segments, places: Places, texts: Column, truth: Column, spans: list[tuple[int, int, float]]
    ) -> pl.DataFrame:
        words = [self._words(texts, row) for row in range(len(texts))]
        bounds = [(a, b) for a, b, _ in spans]
        cut = [text[a:b] if b > a else None for text, (a, b) in zip(words, bounds, strict=True)]
        columns: dict[str, Any] = {"id": [segments.ids[k] for k in places.segment]}
        for k in range(truth.shape[1]):
            columns["y" if k == 0 else f"y-{k + 1}"] = pl.Series(truth[:, k].tolist(), dtype=pl.String)
        columns["y_hat"] = pl.Series(cut, dtype=pl.String)
        columns["p"] = [chance for _, _, chance in spans]
        columns["start"], columns["end"] = [a for a, _ in bounds], [b for _, b in bounds]
        for name, place in (("start_byte", 0), ("end_byte", 1)):
            columns[name] = [len(text[: bound[place]].encode()) for text, bound in zip(words, bounds, strict=True)]
        return pl.DataFrame(columns, schema_overrides={"id": pl.String})

    def score(self, frame: pl.DataFrame, segments: Segments, ends: Steps) -> Result:
        """Exact match and F1, as SQuAD defines them."""
        given = [name for name in frame.columns if name == "y" or name.startswith("y-")]
        truth = [[text for text in row if text is not None] for row in frame.select(given).iter_rows()]
        return score_spans(truth, frame["y_hat"].to_list(), no_answer=self.settings.no_answer)

    def rivals(self, segments: Segments, places: Places, training: Column) -> list[RivalAnswers]:
        """The sentence that shares most words with the other columns, and the first sentence."""
        texts, truth = self._apart(self.read(segments)[places.segment])
        words = [self._words(texts, row) for row in range(len(texts))]
        others = [
            " ".join(str(text) for c, text in enumerate(row) if c != self.within and text is not None) for row in texts
        ]
        overlap = WordOverlap([self._words(training, row) for row in range(len(training))])
        found = {
            "word overlap": [overlap.answer(text, asked) for text, asked in zip(words, others, strict=True)],
            "first sentence": [first_sentence(text) for text in words],
        }
        return [
            RivalAnswers(name, self._frame(segments, places, texts, truth, [(a, b, 1.0) for a, b in spans]), ())
            for name, spans in found.items()
        ]
