"""What a recipe says about its table: the `data:` section."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from seqloom.settings import Settings


class SplitSettings(Settings):
    """How the table is divided into train, valid and test.

    With a time axis `valid` and `test` are the first date of each part, or its share of the time span, or (from 1
    on) its number of steps at the end of each series; a window belongs to the part that all its target steps
    lie in. Without a time axis they are shares of the rows, drawn with `seed`, whole groups at a time where
    `group` names a column.
    """

    column: str | None = Field(None, description="column holding train, valid or test for each row")
    valid: float | str = Field(0.15, description="first date of validation, its share of the data, or its steps")
    test: float | str = Field(0.15, description="first date of the test part, its share of the data, or its steps")
    until: str | None = Field(None, description="last date of the test part; later rows are not scored")
    stride: int = Field(1, ge=1, description="steps between the origins of neighbouring scored windows")
    group: str | None = Field(None, description="column whose equal values never straddle two parts")
    seed: int = Field(0, description="seed of the draw where rows are split by share")


class DataSettings(Settings):
    """Which table, and what its rows mean."""

    table: str | None = Field(None, description="file inside the data folder; omitted: the data path itself")
    lines: dict[Literal["train", "valid", "test"], dict[str, str]] = Field(
        {},
        description="line-aligned files in the data folder, by part and column: line k of each file is row k; several "
        "parts make a column `split`; omitted: a table",
    )
    time: str | None = Field(None, description="column of dates: rows are steps of series; omitted: rows are examples")
    id: str | None = Field(None, description="column naming the series, or the example")
    stack: list[str] = Field(
        [], description="wide table: columns or patterns (`NN5-*`) stacked into series with value column `y`"
    )
    frequency: str | None = Field(
        None, description="1h, 1d, 1bd (business days), 1w, 1mo; omitted: found from the dates"
    )
    time_format: str | None = Field(None, description="strptime pattern of the dates; omitted: found")
    context_length: int | None = Field(
        None, ge=1, description="past steps read before each forecast; omitted: the whole history"
    )
    decimal_comma: bool = Field(False, description="numbers are written 1.234,5")
    split: SplitSettings = Field(default_factory=SplitSettings, description="train, valid and test")

    @model_validator(mode="after")
    def _lines_stand_alone(self) -> DataSettings:
        if not self.lines:
            return self
        if "train" not in self.lines:
            raise ValueError(f"lines has the parts {', '.join(self.lines)}; expected train among them")
        columns = {part: sorted(files) for part, files in self.lines.items()}
        for part, named in columns.items():
            if named != columns["train"] or not named:
                raise ValueError(f"lines.{part} has the columns {named}, train {columns['train']}; expected the same")
        given = [name for name in ("table", "time", "stack") if getattr(self, name)]
        if given:
            raise ValueError(f"lines are examples, one row for each line; leave {' and '.join(given)} out")
        if len(self.lines) > 1 and self.split.column != "split":
            raise ValueError("lines has several parts; set split: {column: split}, the column that says which is which")
        return self
