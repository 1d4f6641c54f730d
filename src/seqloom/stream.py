"""`Stream`: one live sequence. Push steps as they arrive; the state has constant size and is a value."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from seqloom.batch import Batch, Encoded, cut, encode
from seqloom.data.columns import number_column, text_column
from seqloom.data.dates import time_column
from seqloom.data.ledger import Ledger
from seqloom.data.segments import Column, Segments
from seqloom.errors import StreamingError, UsageError
from seqloom.inputs.input import Role
from seqloom.model import ModelState, SequenceModel
from seqloom.outputs.output import Array, Places, Shape
from seqloom.predict import Piece, answer_piece
from seqloom.scaling import Scale


class StreamState(NamedTuple):
    """All a stream remembers.

    Attributes:
        model: state of the front end and of the recurrent core; None before the first step.
        scales: of the inputs scaled by their own past; set by the first push of any steps and kept from then on.
        recent: by lagged input, the last steps that its lags reach back to, (1, steps, F).
    """

    model: ModelState | None
    scales: dict[str, Scale]
    recent: dict[str, Tensor]


class Stream:
    """A model reading one sequence as it arrives.

    Pushing a sequence in any pieces gives what pushing it whole gives, provided the first piece, which sets
    the scale of inputs scaled by their own past, is the same.

    Args:
        model: a trained model.
        state: where to go on from; from the beginning where omitted.
        static: values of the static columns, by name.

    Raises:
        StreamingError: the model reads backwards, or ahead.
        UsageError: a static column has no value.
    """

    def __init__(
        self, model: SequenceModel, state: StreamState | None = None, *, static: dict[str, Any] | None = None
    ) -> None:
        if not model.causal:
            raise StreamingError(
                f"this model {model.reads_ahead}, so its answers wait for later steps; train one without that to stream"
            )
        whole = next((input.name for input in model.inputs.values() if input.own_axis), None)
        if whole is not None:
            raise StreamingError(
                f"input {whole!r} is taken apart as a whole, and a part of it may fall into other steps; use predict"
            )
        self.model = model.eval()
        self.static = static or {}
        expected = [c for i in model.inputs.values() if i.role is Role.STATIC for c in i.columns]
        absent = [column for column in expected if column not in self.static]
        if absent:
            raise UsageError(
                f"static columns {absent} have no value, got {list(self.static)}; expected {expected}: "
                "pass static={name: value}, with None where it is not known"
            )
        self.state = state or StreamState(None, {}, {})

    @torch.no_grad()
    def push(self, steps: pl.DataFrame) -> dict[str, Array]:
        """Read the next steps; answers (T, ...) of the outputs that give one per step, by name."""
        table = self._segments(steps)
        batch, recent = self._cut(table, origin=len(steps))
        reading, state = self.model.read(batch, self.state.model, final=False)
        self.state = StreamState(state, batch.scales if len(steps) else self.state.scales, recent)
        return {
            name: output.answers(output(reading), batch.scales.get(str(output.source)))[0]
            for name, output in self.model.outputs.items()
            if output.shape is Shape.STEPS
        }

    @torch.no_grad()
    def forecast(self, coming: pl.DataFrame) -> dict[str, Array]:
        """Forecasts (U, C, Q) of the coming steps, by output; the stream itself stays where it is.

        Args:
            coming: a row for each coming step with its date and the columns that are known ahead.
        """
        if not self.state.scales:
            raise UsageError("nothing was pushed yet; push the history before asking for a forecast")
        batch, _ = self._cut(self._segments(coming), origin=0)
        piece = Piece(np.zeros(1, np.int64), batch, self.state.model)
        return {
            name: answer_piece(self.model, output, piece)[0]
            for name, output in self.model.outputs.items()
            if output.shape is Shape.AHEAD
        }

    def _cut(self, table: Segments, origin: int) -> tuple[Batch, dict[str, Tensor]]:
        """The batch of new steps, with what the lags reach back to before them; and what to remember."""
        encoded = encode(table, self.model.inputs, {})
        reach = self.model.longest_lag
        joined = {}
        columns = {name: column for name, column in encoded.inputs.items() if isinstance(column, Tensor)}
        for name, input in self.model.inputs.items():
            values = columns[name]
            if input.role is not Role.STATIC:
                before = self.state.recent.get(name, values.new_full((1, 0, values.shape[1]), input.missing))[0]
                filler = values.new_full((reach - len(before), values.shape[1]), input.missing)
                values = torch.cat([filler, before, values])
            joined[name] = values
        total = reach + int(table.offsets[-1])
        places = Places(*(np.array([value]) for value in (0, reach, reach + origin, total)))
        longer = Encoded(torch.tensor([0, total]), joined, {})
        batch = cut(longer, places, self.model.inputs, {}, self.state.scales)
        recent = {n: joined[n][total - reach :].unsqueeze(0) for n, i in self.model.inputs.items() if i.lags}
        return batch, recent

    def _segments(self, frame: pl.DataFrame) -> Segments:
        settings, ledger = self.model.recipe.data, Ledger()
        steps: dict[str, Column] = {}
        for input in self.model.inputs.values():
            for column in input.columns if input.role is not Role.STATIC else []:
                if column not in frame.columns and input.role is Role.PAST:
                    steps[column] = np.full(len(frame), None if input.reads_text else np.nan)
                elif input.reads_text:
                    steps[column] = text_column(frame, column, ledger)
                else:
                    steps[column] = number_column(frame, column, settings, ledger)
        times = time_column(frame, settings.time, settings, ledger) if settings.time else None
        ledger.raise_if_errors()
        static = {name: np.array([value]) for name, value in self.static.items()}
        offsets = np.array([0, len(frame)], np.int64)
        return Segments(["stream"], offsets, steps, static, times, settings.frequency)
