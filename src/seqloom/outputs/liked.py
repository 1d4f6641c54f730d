"""Whether the next item will be liked: the probability that its rating reaches a threshold, before it is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch
from pydantic import Field
from torch import Tensor, nn

from seqloom.data.following import asks_next, following
from seqloom.data.segments import Column, Segments
from seqloom.errors import DataError, RecipeError
from seqloom.inputs.input import EmbeddedInput, Input, Role
from seqloom.inputs.items import Items as ItemsInput
from seqloom.metrics.liked import score_liked
from seqloom.metrics.result import Result
from seqloom.outputs.output import NOTHING, Array, NextOutput, NextSettings, Places, Reading, RivalAnswers, Steps
from seqloom.rivals.liking import Liking
from seqloom.scaling import Scale

UNRATED = -1  # an item that is asked for and has no rating
LIKED, OTHER = "liked", "not liked"


class LikedSettings(NextSettings):
    """What a recipe may say of items to be liked or not."""

    of: str | None = Field(
        None, description="input whose next item is asked about; omitted: the only one of kind items"
    )
    at_least: float = Field(description="an item with a rating of so much or more is liked")


class Liked(NextOutput):
    """At each step the probability that the item after it is liked; its column holds the ratings.

        p = sigmoid(q . v_item + b_item),   q = W h + b

    of the state h after the step and the vector v that the item is read with. The loss is the binary cross-entropy over
    the items that are asked for and have a rating. An item without one is answered, and neither learned from nor
    scored. Items unknown to training share a vector and a bias.

    Raw answers are questions q (B, T, E). Answers of items that are asked for are (B, T, 1), NaN where none is; where
    no one is, those of all items (B, T, codes).
    """

    Settings = LikedSettings
    holds = "ratings"

    def __init__(self, name: str, settings: LikedSettings) -> None:
        super().__init__(name, settings)
        self.settings = settings
        self.liking: Liking
        self.counts: Steps
        self._read_by: tuple[EmbeddedInput, ...] = ()  # in a tuple, so that the input's weights stay the input's own

    def tie(self, inputs: dict[str, Input]) -> None:
        """Take the vocabulary and the vectors of the input that reads the items."""
        items = {n: i for n, i in inputs.items() if isinstance(i, EmbeddedInput) and i.role is Role.PAST}
        wanted = self.settings.of
        found = [i for n, i in items.items() if n == wanted or (wanted is None and isinstance(i, ItemsInput))]
        if len(found) != 1:
            raise RecipeError(
                f"outputs.{self.name}.of is {wanted!r}; expected the input that reads the items, one of "
                f"{', '.join(items) or 'kind items, of which there is none: add it'}"
            )
        self._read_by = (found[0],)

    @property
    def items(self) -> EmbeddedInput:
        """The input whose next item is asked about."""
        return self._read_by[0]

    @property
    def needed(self) -> list[str]:
        """The items; ratings are missing where they are not known yet."""
        return self.items.columns

    def read(self, segments: Segments) -> Column:
        """(N, 3): the item after each step and its rating, and whether it is asked about."""
        asked = asks_next(segments, self.numbers)
        item, rating = (following(column, asked) for column in (self.items.read(segments), super().read(segments)))
        return np.stack([item, rating, asked.astype(object)], axis=1)

    def made_up(self) -> Column:
        """Ten items asked about, of which every other one is liked."""
        liked = [self.settings.at_least - k % 2 for k in range(10)]
        return np.array([[None, rating, True] for rating in liked], object)

    def fit(self, values: Column) -> None:
        """How often each item is liked in the training part.

        Raises:
            DataError: it has no rating, or all of them are on one side of `at_least`.
        """
        code, liked = self.encode(values).numpy().T
        self.counts = np.stack(
            [np.bincount(code[liked == side], minlength=len(self.items.vocabulary)) for side in (1, 0)]
        )
        liked_ones, others = self.counts.sum(axis=1).tolist()
        if not (liked_ones and others):
            ratings = values[:, 1].astype(np.float64)[liked >= 0]
            told = f"ratings from {ratings.min():g} to {ratings.max():g}" if len(ratings) else "no rating"
            raise DataError(
                f"output {self.name!r}: of the items that the training part asks about {liked_ones} are liked and "
                f"{others} are not, with at_least: {self.settings.at_least:g} and {told}; expected some of either: "
                "choose a threshold within the ratings"
            )
        self.restore(self.fitted())

    def fitted(self) -> dict[str, Any]:
        """How often each code of the input was liked, and how often it was not."""
        return {"liked": self.counts[0].tolist(), "others": self.counts[1].tolist()}

    def restore(self, fitted: dict[str, Any]) -> None:
        """The counts."""
        self.counts = np.array([fitted["liked"], fitted["others"]], np.int64)
        self.liking = Liking(self.counts[0], self.counts.sum(axis=0))

    def build(self, features: int, joined: int, bidirectional: bool) -> None:
        """A map to the vectors of the items, and a bias that begins at how often each is liked."""
        self.question = nn.Sequential(nn.Dropout(self.settings.dropout), nn.Linear(features, self.items.features))
        shares = torch.from_numpy(self.liking.items).to(torch.get_default_dtype())
        self.bias = nn.Parameter(torch.logit(shares))

    def encode(self, values: Column) -> Tensor:
        """(N, 2) int64: the code of the item asked about, or `NOTHING`; 1 if it is liked, 0 if not, or `UNRATED`."""
        item, rating, asked = values.T
        code = np.where(asked.astype(bool), self.items.vocabulary.encode(item.tolist()), NOTHING)
        known = rating.astype(np.float64)
        liked = np.where(np.isnan(known), UNRATED, known >= self.settings.at_least)
        return torch.from_numpy(np.stack([code, np.where(code == NOTHING, NOTHING, liked)], axis=1).astype(np.int64))

    def forward(self, reading: Reading) -> Tensor:
        """(B, T, E) questions."""
        raw: Tensor = self.question(reading.states.values)
        return raw

    def _logits(self, question: Tensor, code: Tensor) -> Tensor:
        """(n,) of questions (n, E) about items (n,)."""
        return (question * self.items.embedding.weight[code]).sum(dim=-1) + self.bias[code]

    def loss(self, raw: Tensor, target: Tensor, scale: Scale | None) -> Tensor:
        """Mean binary cross-entropy over the items with a rating that are asked about."""
        code, liked = target.unbind(dim=-1)
        known = liked >= 0
        if not known.any():
            return raw[known].sum()
        logits = self._logits(raw[known], code[known])
        return nn.functional.binary_cross_entropy_with_logits(logits, liked[known].to(logits))

    def known(self, target: Tensor) -> int:
        """Items with a rating that are asked about."""
        return int((target[..., 1] >= 0).sum())

    @torch.no_grad()
    def answers(self, raw: Tensor, scale: Scale | None) -> Array:
        """(B, T, codes) the probability of each item, if it came next; that of unknown ones is first."""
        found: Array = torch.sigmoid((raw @ self.items.embedding.weight.t() + self.bias).double()).numpy()
        return found

    @torch.no_grad()
    def compared(self, raw: Tensor, scale: Scale | None, target: Tensor) -> Array:
        """(B, T, 1) the probability of the item that is asked about, NaN where none is."""
        code = target[..., 0]
        asked = code != NOTHING
        found = torch.full(code.shape, torch.nan, dtype=torch.float64)
        found[asked] = torch.sigmoid(self._logits(raw[asked], code[asked])).double()
        answers: Array = found.unsqueeze(-1).numpy()
        return answers

    def monitor(self, answers: Array, target: Array) -> tuple[str, float]:
        """Accuracy over the items with a rating."""
        code, liked = target[target[..., 1] >= 0].T.astype(np.int64)
        p = answers[target[..., 1] >= 0]
        if not len(p):
            return "accuracy", float("nan")
        said = p[np.arange(len(p)), code if p.shape[1] > 1 else 0] >= 0.5
        return "accuracy", float((said == (liked == 1)).mean())

    def frame(self, answers: Array, segments: Segments, places: Places) -> pl.DataFrame:
        """One row for each item that is asked about: id, step, item, y, y_hat and p-liked.

        `step` counts the items read before. A sequence of one item has none: it is answered at step 0 by how often
        others liked it.
        """
        row, step = np.nonzero(~np.isnan(answers[..., 0]))
        at = segments.offsets[places.segment[row]] + places.start[row] + step + 1
        alone = np.flatnonzero(segments.lengths[places.segment] == 1)
        first = segments.offsets[places.segment[alone]]
        code = self.items.vocabulary.encode(self.items.read(segments)[first].tolist())
        where, read = np.concatenate([row, alone]), np.concatenate([places.start[row] + step + 1, np.zeros_like(alone)])
        p = np.concatenate([answers[row, step, 0], self.liking.items[code]])
        order, at = np.lexsort((read, where)), np.concatenate([at, first])
        rating = super().read(segments)[at].astype(np.float64)
        truth = [None if np.isnan(r) else LIKED if r >= self.settings.at_least else OTHER for r in rating.tolist()]
        columns = {
            "id": pl.Series([segments.ids[k] for k in places.segment[where]], dtype=pl.String),
            "step": read,
            "item": pl.Series(self.items.read(segments)[at].tolist(), dtype=pl.String),
            "y": pl.Series(truth, dtype=pl.String),
            "y_hat": pl.Series([LIKED if chance >= 0.5 else OTHER for chance in p.tolist()], dtype=pl.String),
            "p-liked": p,
        }
        return pl.DataFrame(columns)[order]

    def ahead(self, answers: Array, segments: Segments, places: Places) -> pl.DataFrame:
        """The items without a rating, and the last one of each sequence."""
        frame = self.frame(answers, segments, places)
        last = pl.col("id").shift(-1) != pl.col("id")
        return frame.filter(pl.col("y").is_null() | last.fill_null(True))

    def score(self, frame: pl.DataFrame, segments: Segments, ends: Steps) -> Result:
        """AUC, log-loss, calibration error and accuracy over the items with a rating that stand behind another."""
        rated = frame.filter(pl.col("y").is_not_null() & (pl.col("step") > 0))
        liked = (rated["y"] == LIKED).to_numpy()
        return score_liked(liked, rated["p-liked"].to_numpy(), sequence=rated["id"].to_list())

    def rivals(self, segments: Segments, places: Places, training: Column) -> list[RivalAnswers]:
        """How often all items are liked, this item, what the user rated so far, and the last two together."""
        code = self.encode(self.read(segments)).numpy()[:, 0]
        item, user = self.liking.items[np.maximum(code, 0)], self._user_so_far(segments)
        found = {
            "share": np.full(len(code), self.liking.share),
            "item mean": item,
            "user mean": user,
            "item and user mean": self.liking.both(item, user),
        }
        answers = {name: _at(np.where(code == NOTHING, np.nan, p), segments, places) for name, p in found.items()}
        return [RivalAnswers(name, self.frame(p, segments, places), ()) for name, p in answers.items()]

    def _user_so_far(self, segments: Segments) -> Array:
        """(N,) the share that was liked of the items rated up to each step."""
        rating = super().read(segments).astype(np.float64)
        so_far = []
        for flags in (rating >= self.settings.at_least, ~np.isnan(rating)):
            before = np.concatenate([[0], np.cumsum(flags)])
            so_far.append(before[1:] - np.repeat(before[segments.offsets[:-1]], segments.lengths))
        return self.liking.shrunk(*so_far)


def _at(values: Array, segments: Segments, places: Places) -> Array:
    """(B, T, 1) of values (N,) at some places, NaN behind the end of each."""
    lengths = places.origin - places.start
    step = np.arange(lengths.max(initial=0))
    at = (segments.offsets[places.segment] + places.start)[:, None] + step
    within = step < lengths[:, None]
    return np.where(within, values[np.where(within, at, 0)] if len(values) else np.nan, np.nan)[..., None]
