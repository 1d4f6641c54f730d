"""The next item: at every step, which of a set of items comes after those read so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from seqloom.data.following import asks_next, following, last_of_each
from seqloom.data.segments import Column, Segments
from seqloom.errors import DataError, RecipeError
from seqloom.inputs.input import EmbeddedInput, Input
from seqloom.layers.sampled_softmax import sampled_softmax_loss
from seqloom.layers.softmax import questions_at_once, softmax_loss
from seqloom.metrics.items import score_items
from seqloom.metrics.result import Result
from seqloom.outputs.output import NOTHING, Array, NextOutput, NextSettings, Places, Reading, RivalAnswers, Steps
from seqloom.ranking import UNKNOWN, Ranked, draw_others, rank, rank_among, rows_at_once
from seqloom.rivals.kneser_ney import KneserNey
from seqloom.rivals.popularity import Popularity
from seqloom.scaling import Scale
from seqloom.vocabulary import Vocabulary

END = -3  # code of the item after a sequence's last one: no one knows it, but it is answered
NGRAM = 5  # longest n-gram among the rivals
ROWS_AT_ONCE = 256


class ItemsSettings(NextSettings):
    """What a recipe may say of items to be answered."""

    top: int = Field(10, ge=1, description="items in each list of answers, and the k of Hit@k, NDCG@k and MRR@k")
    repeats: bool = Field(
        True, description="whether an item may come again; false: those that the sequence holds are no candidates"
    )
    negatives: int | None = Field(
        None,
        ge=1,
        description="score also against so many items drawn at random that the sequence does not hold; omitted: only "
        "against all",
    )
    tied: bool = Field(
        True,
        description="answer with the embedding of the input that reads the same column, instead of weights of its own",
    )
    samples: int | None = Field(
        None, ge=1, description="items drawn for each step of training to stand for all; omitted: all, exactly"
    )


class Target(NamedTuple):
    """What a step has, each (...) int64.

    Attributes:
        item: code of the step's own item from 0, `UNKNOWN` where training never shows it.
        next: code of the item asked for; `UNKNOWN`; `NOTHING` where none is; `END` after the last one.
        place: number of the step in its table, by which drawn items are drawn.
    """

    item: Tensor
    next: Tensor
    place: Tensor

    @classmethod
    def of(cls, target: Tensor) -> Target:
        """The parts of encoded targets (..., 3)."""
        return cls(*target.unbind(dim=-1))

    def answered(self) -> Tensor:
        """(B, T) bool: steps whose next item is asked for, and the last of each sequence, after which any may come."""
        return self.next != NOTHING


class Items(NextOutput):
    """A score for every item of the training part after each step; the loss is the softmax's cross-entropy.

    Raw answers are questions (B, T, E): what is to be multiplied with each item's vector. Scores of all items are made
    where they are needed and never kept. Answers (B, T, 4 + 2 * top) hold rank, candidates, ln p of the truth, rank
    among drawn items, codes and probabilities of the list; NaN where nothing was asked.
    """

    Settings = ItemsSettings
    reads_text = True
    holds = "items"

    def __init__(self, name: str, settings: ItemsSettings) -> None:
        super().__init__(name, settings)
        self.settings = settings
        # What is no candidate stands earlier in the row, or later.
        self.whole_rows = not settings.repeats or settings.negatives is not None
        self.vocabulary: Vocabulary
        self.counts: list[int]
        # In a tuple, so that the input's weights stay the input's own.
        self._tied: tuple[EmbeddedInput, ...] = ()

    def read(self, segments: Segments) -> Column:
        """(N, 3): the item of each step, the next one where it is asked for, and whether the sequence ends here."""
        item = super().read(segments)
        after = following(item, asks_next(segments, self.numbers))
        return np.stack([item, after, last_of_each(segments).astype(object)], axis=1)

    def fit(self, values: Column) -> None:
        """The items of the training part, and how often each stands there."""
        held = values.reshape(len(values), -1)[:, 0].tolist()
        self.vocabulary = Vocabulary.fit(held)
        if not self.vocabulary.words:
            raise DataError(f"output {self.name!r}: the training part has no item at all; expected sequences of items")
        self.counts = np.bincount(self.vocabulary.encode(held), minlength=len(self.vocabulary))[1:].tolist()

    def fitted(self) -> dict[str, Any]:
        """The items in the order of their codes, and their counts."""
        return {"words": self.vocabulary.words, "counts": self.counts}

    def restore(self, fitted: dict[str, Any]) -> None:
        """The items and their counts."""
        self.vocabulary = Vocabulary(fitted["words"])
        self.counts = list(fitted["counts"])

    def tie(self, inputs: dict[str, Input]) -> None:
        """Take the embedding of the input that reads the same column, where the recipe asks for it."""
        if not self.settings.tied:
            return
        found = [i for i in inputs.values() if isinstance(i, EmbeddedInput) and i.columns == self.columns]
        if not found:
            raise RecipeError(
                f"outputs.{self.name}.tied: no input of kind items reads {self.columns}; add one, or set tied: false"
            )
        self._tied = (found[0],)

    def build(self, features: int, joined: int, bidirectional: bool) -> None:
        """A vector for each item, unless tied, and a bias that begins at what is popular."""
        self.dropout = nn.Dropout(self.settings.dropout)
        size = self._tied[0].features if self._tied else features
        self.project = nn.Identity() if size == features else nn.Linear(features, size)
        if not self._tied:
            self.own_vectors = nn.Parameter(torch.randn(len(self.vocabulary.words), size) * size**-0.5)
        times = torch.tensor(self.counts, dtype=torch.get_default_dtype())
        self.bias = nn.Parameter((times / times.sum()).log())

    def vectors(self) -> Tensor:
        """(V, E) one for each item; a tied embedding has the unknown item in front of them."""
        return self._tied[0].embedding.weight[1:] if self._tied else self.own_vectors

    def encode(self, values: Column) -> Tensor:
        """(N, 3) int64, the parts of a `Target`."""
        item, following, last = values.T
        asked = np.array([word is not None for word in following], dtype=bool)
        code = np.where(asked, self.vocabulary.encode(following.tolist()) - 1, NOTHING)
        code[last.astype(bool)] = END
        own = self.vocabulary.encode(item.tolist()) - 1
        return torch.from_numpy(np.stack([own, code, np.arange(len(values))], axis=1))

    def forward(self, reading: Reading) -> Tensor:
        """(B, T, E) questions."""
        raw: Tensor = self.project(self.dropout(reading.states.values))
        return raw

    def loss(self, raw: Tensor, target: Tensor, scale: Scale | None) -> Tensor:
        """Mean of -ln p(next item) over the steps that ask for an item known to training."""
        following = Target.of(target).next
        asked = following >= 0
        if not asked.any():
            return raw[asked].sum()
        query, code, weight = raw[asked], following[asked], self.vectors()
        if self.training and self.settings.samples:
            return sampled_softmax_loss(query, weight, self.bias, code, self.settings.samples)
        return softmax_loss(query, weight, self.bias, code)

    def known(self, target: Tensor) -> int:
        """Items asked for that training has seen."""
        return int((Target.of(target).next >= 0).sum())

    def answers(self, raw: Tensor, scale: Scale | None) -> Array:
        """Lists after every step, as far as can be said without knowing which items the sequence holds."""
        B, T, _ = raw.shape
        unknown = torch.full((B, T, 3), NOTHING)
        unknown[..., 2] = torch.arange(T)
        unknown[..., 1] = UNKNOWN
        found = self.compared(raw, scale, unknown)
        found[..., :4] = np.nan
        return found

    @torch.no_grad()
    def compared(self, raw: Tensor, scale: Scale | None, target: Tensor) -> Array:
        """(B, T, 4 + 2 * top) where something is asked for."""
        weight, at_once = self.vectors(), questions_at_once(len(self.vocabulary.words))
        # Written again by every chunk: asking the system for so much memory takes as long as filling it.
        table = raw.new_empty(min(at_once, target[..., 0].numel()), len(weight))

        def scores(rows: Tensor, steps: Tensor) -> Tensor:
            return torch.mm(raw[rows, steps], weight.t(), out=table[: len(rows)]).add_(self.bias)

        return self._ranked(target, scores, at_once)

    def _ranked(self, target: Tensor, scores: Callable[[Tensor, Tensor], Tensor], at_once: int) -> Array:
        """Rank what every answered step asks for; `scores` gives (n, V) for n rows and steps, at most `at_once`."""
        parts = Target.of(target)
        rows, steps = parts.answered().nonzero(as_tuple=True)
        found = np.full((*parts.item.shape, 4 + 2 * self.settings.top), np.nan)
        few = rows_at_once(len(self.vocabulary.words))
        for start in range(0, len(rows), at_once):
            many = rows[start : start + at_once], steps[start : start + at_once]
            table = scores(*many)
            for k in range(0, len(table), few):
                row, step = (part[k : k + few] for part in many)
                found[row.numpy(), step.numpy()] = self._ranked_rows(parts, row, step, table[k : k + few])
        return found

    def _ranked_rows(self, parts: Target, row: Tensor, step: Tensor, scores: Tensor) -> Array:
        """(n, 4 + 2 * top) for some steps."""
        truth = parts.next[row, step]
        among = self._among(parts, row, step, truth, scores)
        barred = None
        if not self.settings.repeats:
            later = torch.arange(parts.item.shape[1]) > step.unsqueeze(1)
            barred = parts.item[row].masked_fill(later, NOTHING)
        found: Ranked = rank(scores, truth, self.settings.top, barred)
        head = torch.stack([found.rank, found.candidates.double(), found.log_p, among], dim=1)
        return torch.cat([head, found.items.double(), found.p.double()], dim=1).numpy()

    def _among(self, parts: Target, row: Tensor, step: Tensor, truth: Tensor, scores: Tensor) -> Tensor:
        """(n,) rank among drawn items that the whole row does not hold, the truth included; NaN without any."""
        count, items = self.settings.negatives, len(self.vocabulary.words)
        among = torch.full((len(row),), torch.nan, dtype=torch.float64)
        known = (truth >= 0).nonzero().squeeze(1)
        if count is None:
            return among
        among[truth == UNKNOWN] = 1.0 + count
        places = parts.place[row[known], step[known]].tolist()
        held = torch.cat([parts.item[row[known]], truth[known].unsqueeze(1)], dim=1).numpy()
        drawn = [draw_others(k, count, items, h) for k, h in zip(places, held, strict=True)]
        others = torch.from_numpy(np.array(drawn, np.int64).reshape(-1, count))
        among[known] = rank_among(scores[known], truth[known], others)
        return among

    def monitor(self, answers: Array, target: Array) -> tuple[str, float]:
        """Hit@k over all candidates."""
        place = answers[..., 0][~np.isnan(answers[..., 0])]
        k = self.settings.top
        return f"Hit@{k}", 100 * float((place <= k).mean()) if len(place) else float("nan")

    def frame(self, answers: Array, segments: Segments, places: Places) -> pl.DataFrame:
        """One row for each answered step: id, step, y, rank, candidates, log-p, y_hat, then the list.

        `step` counts the items read. A sequence without any item is answered at step 0, by what is popular.
        """
        row, step = np.nonzero((~np.isnan(answers[..., -1:])).all(axis=-1))
        empty = np.flatnonzero(places.origin == places.start)
        start = self._start()
        found = np.concatenate([answers[row, step].reshape(-1, len(start)), np.tile(start, (len(empty), 1))])
        following = self.read(segments)[:, 1]
        at = segments.offsets[places.segment[row]] + places.start[row] + step
        truth = [*following[at].tolist(), *[None] * len(empty)]
        read = np.concatenate([places.start[row] + step + 1, np.zeros(len(empty), np.int64)])
        order = np.lexsort((read, np.concatenate([row, empty])))
        owner = places.segment[np.concatenate([row, empty])]
        columns = {"id": pl.Series([segments.ids[k] for k in owner], dtype=pl.String), "step": read}
        columns |= {"y": pl.Series(truth, dtype=pl.String), **self._columns(found)}
        return pl.DataFrame(columns)[order].with_columns(pl.col(pl.Float64).fill_nan(None))

    def _columns(self, found: Array) -> dict[str, Any]:
        """What (n, 4 + 2 * top) answers say, by name."""
        top = min(self.settings.top, len(self.vocabulary.words))
        words = np.array(self.vocabulary.words, object)
        lists = {f"item-{k + 1}": words[found[:, 4 + k].astype(np.int64)].tolist() for k in range(top)}
        chances = {f"p-{k + 1}": found[:, 4 + self.settings.top + k] for k in range(top)}
        head = {"rank": found[:, 0], "candidates": found[:, 1], "log-p": found[:, 2]}
        if self.settings.negatives:
            head[f"rank-of-{self.settings.negatives + 1}"] = found[:, 3]
        pairs = {name: values for pair in zip(lists.items(), chances.items(), strict=True) for name, values in pair}
        return {**head, "y_hat": lists["item-1"], **pairs}

    @torch.no_grad()
    def _start(self) -> Array:
        """(4 + 2 * top,) the answer before anything was read: the bias alone."""
        found = rank(self.bias.unsqueeze(0).clone(), torch.tensor([END]), self.settings.top)
        head = torch.tensor([[torch.nan, float(found.candidates), torch.nan, torch.nan]], dtype=torch.float64)
        answer: Array = torch.cat([head, found.items.double(), found.p.double()], dim=1)[0].numpy()
        return answer

    def ahead(self, answers: Array, segments: Segments, places: Places) -> pl.DataFrame:
        """What comes after the last item of each sequence."""
        last = np.arange(answers.shape[1]) == (places.origin - places.start - 1)[:, None]
        return self.frame(np.where(last[..., None], answers, np.nan), segments, places)

    def score(self, frame: pl.DataFrame, segments: Segments, ends: Steps) -> Result:
        """Hit, NDCG and MRR at k, AUC, perplexity, calibration of the lists."""
        asked = frame.filter(pl.col("rank").is_not_null())
        negatives = self.settings.negatives
        among = f"rank-of-{negatives + 1}" if negatives else "log-p"
        numbers = {
            name: asked[column].cast(pl.Float64).fill_null(float("nan")).to_numpy()
            for name, column in {"rank": "rank", "candidates": "candidates", "log_p": "log-p", "among": among}.items()
        }
        mass = asked.select(pl.sum_horizontal(pl.col(r"^p-\d+$"))).to_series().to_numpy()
        return score_items(
            **numbers,
            mass=mass,
            sequence=asked["id"].to_list(),
            step=asked["step"].to_numpy(),
            k=self.settings.top,
            repeats=self.settings.repeats,
            negatives=negatives,
        )

    def rivals(self, segments: Segments, places: Places, training: Column) -> list[RivalAnswers]:
        """What is popular, a first-order Markov chain, and a smoothed n-gram."""
        learned = self.encode(training).numpy()
        count = len(self.vocabulary.words)
        history = _histories(learned[:, 0], learned[:, 1] == END, count)
        known = learned[:, 1] >= 0
        found: dict[str, Popularity | KneserNey] = {"popularity": Popularity(learned[:, 0], count)}
        for order, name in ((2, "markov"), (NGRAM, f"{NGRAM}-gram")):
            found[name] = KneserNey(history[known, 1 - order :], learned[known, 1], count)
        return [
            RivalAnswers(name, self.frame(self._rival_answers(rival, segments, places), segments, places), ())
            for name, rival in found.items()
        ]

    def _rival_answers(self, rival: Popularity | KneserNey, segments: Segments, places: Places) -> Array:
        """The answers of a rival, ranked and listed as the model's are."""
        count = len(self.vocabulary.words)
        longest = int((places.origin - places.start).max(initial=0))
        found = np.full((len(places.segment), longest, 4 + 2 * self.settings.top), np.nan)
        for rows, target in self._targets(segments, places):
            item = Target.of(target).item.numpy()
            before = np.pad(item, [(0, 0), (NGRAM - 2, 0)], constant_values=count)
            width = NGRAM - 1 if isinstance(rival, Popularity) else rival.order - 1

            def scores(row: Tensor, step: Tensor, before: Steps = before, width: int = width) -> Tensor:
                reach = np.arange(NGRAM - 1 - width, NGRAM - 1)
                return rival.scores(before[row.numpy()[:, None], step.numpy()[:, None] + reach])

            ranked = self._ranked(target, scores, rows_at_once(count))
            found[rows, : ranked.shape[1]] = ranked
        return found

    def _targets(self, segments: Segments, places: Places) -> Iterator[tuple[slice, Tensor]]:
        """The targets (B, T, 3) of some places at a time."""
        encoded = self.encode(self.read(segments))
        first = segments.offsets[places.segment]
        for start in range(0, len(first), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            spans = zip(first[rows], places.start[rows], places.origin[rows], strict=True)
            parts = [encoded[at + begin : at + end] for at, begin, end in spans]
            yield rows, pad_sequence(parts, batch_first=True, padding_value=float(NOTHING))


def _histories(item: Steps, last: np.ndarray[tuple[int], np.dtype[np.bool_]], outside: int) -> Steps:
    """(N, NGRAM - 1) codes of each step's own item and those before it, nearest last; `outside` before the first.

    `last` (N,) marks the last step of each sequence.
    """
    begin = np.concatenate([[True], last[:-1]])
    since = np.arange(len(item)) - np.maximum.accumulate(np.where(begin, np.arange(len(item)), 0))
    columns = [np.where(since >= k, np.roll(item, k), outside) for k in range(NGRAM - 1)]
    return np.stack(columns[::-1], axis=1)
