"""The pre-flight check: everything wrong or odd about the data, with its place, before the first epoch.

Reading a table has entered bad cells, gaps and repeated rows in the ledger already; here the values are
looked at. Errors stop training, warnings deserve a look, notes are worth knowing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqloom.data.calendar_grid import season_length
from seqloom.data.columns import ColumnUse, Floats
from seqloom.data.items import check_items
from seqloom.data.leaks import leaking_shift
from seqloom.data.ledger import Ledger, Severity
from seqloom.data.ratings import check_ratings
from seqloom.data.segments import Column, Segments
from seqloom.data.series import history_ends, missing
from seqloom.data.splits import ExampleSplit, SeriesSplit

_FAR = 3.0
_RARE_SHARE = 0.05


@dataclass(frozen=True)
class _Stretch:
    """The steps of one series up to its last observed target."""

    name: str
    start: int
    end: int
    train_end: int


def check_series(
    segments: Segments,
    uses: Sequence[ColumnUse],
    split: SeriesSplit,
    horizon: int,
    context_length: int,
    ledger: Ledger,
) -> None:
    """Enter every problem of the series in `ledger`: leaks, missing values, short histories, odd values."""
    targets = [use.name for use in uses if use.role == "target"]
    stretches = _stretches(segments, targets, split)
    _check_lengths(stretches, horizon + context_length, ledger)
    _check_leaks(segments, uses, targets, horizon, ledger)
    for use in uses:
        if use.role == "static":
            _check_static_categories(segments, use, split, ledger)
        elif use.kind == "text":
            _check_step_categories(segments, use, split, ledger)
        else:
            _check_range(segments, use.name, stretches, ledger)
        if use.role == "known":
            _check_known(segments, use.name, split, ledger)
        if use.role == "target":
            _check_target(segments, use, stretches, context_length, ledger)


def check_examples(segments: Segments, uses: Sequence[ColumnUse], split: ExampleSplit, ledger: Ledger) -> None:
    """Enter every problem of a table of examples: missing, constant, rare, unseen or far-off values."""
    for use in uses:
        column, owner = _values(segments, use.name)
        if use.role != "written":  # of several right answers, most rows lack the later ones
            _check_present(use, column, owner, ledger)
        part = split.part[owner]
        if use.next_asked and use.kind == "number":
            check_ratings(segments, use.name, split, ledger)
        elif use.next_asked:
            check_items(segments, use.name, split, ledger)
        elif use.role == "cell" and use.kind == "text":
            _check_texts(use.name, column, ledger)
        elif use.kind == "text" and use.role != "written" and _is_category(use, column):
            _check_unseen(use, column, part == "train", owner, ledger)
        if use.role == "target" and use.kind == "text" and not use.next_asked:
            _check_labels(use.name, column, owner, ledger)
        if use.kind == "number" and column.ndim == 1:
            _check_example_range(use.name, column.astype(np.float64), part == "train", owner, ledger)
    _check_repeated_examples(segments, uses, split, ledger)


def check_to_answer(segments: Segments, uses: Sequence[ColumnUse], ledger: Ledger) -> None:
    """Enter what is odd in a table that is only answered: texts without a character."""
    for use in uses:
        if use.role == "cell" and use.kind == "text":
            _check_texts(use.name, _values(segments, use.name)[0], ledger)


def _stretches(segments: Segments, targets: Sequence[str], split: SeriesSplit) -> list[_Stretch]:
    ends = segments.offsets[:-1] + history_ends(segments, targets)
    trained = segments.offsets[:-1] + split.valid
    return [
        _Stretch(name, int(start), int(end), int(train_end))
        for name, start, end, train_end in zip(segments.ids, segments.offsets[:-1], ends, trained, strict=True)
    ]


def _date(segments: Segments, step: int) -> str:
    assert segments.times is not None
    return str(segments.times[step].astype("datetime64[s]")).replace("T", " ").removesuffix(" 00:00:00")


def _check_lengths(stretches: list[_Stretch], needed: int, ledger: Ledger) -> None:
    short = [(item, item.train_end - item.start) for item in stretches if item.train_end - item.start < needed]
    if len(short) == len(stretches):
        longest = max((steps for _, steps in short), default=0)
        message = (
            f"no series can be trained on: the longest has {longest} steps in the train part; expected at least "
            f"{needed} (context_length + horizon). Bring more history, or shorten one of them."
        )
        ledger.add("error", "too-short", message, count=len(short))
        return
    for item, steps in short:
        if item.end == item.start:
            continue  # reported as having no history at all
        message = (
            f"series '{item.name}' has {steps} steps in the train part, fewer than the {needed} of "
            "context_length + horizon; its windows begin with padding or are left out."
        )
        ledger.add("warning", "short-history", message, series=item.name, count=steps)


def _check_leaks(
    segments: Segments, uses: Sequence[ColumnUse], targets: list[str], horizon: int, ledger: Ledger
) -> None:
    known = [use.name for use in uses if use.role == "known" and use.kind == "number"]
    numeric = [name for name in targets if segments.steps[name].dtype != object]
    for name in known:
        for target in numeric:
            shift = leaking_shift(segments, name, target, horizon)
            if shift is None:
                continue
            when = "" if shift == 0 else f" {abs(shift)} steps {'later' if shift > 0 else 'earlier'}"
            message = (
                f"column '{name}' is declared known ahead but is the target '{target}'{when} (correlation above "
                f"0.9999), which is not known at forecast time. Give it the role past, or remove it."
            )
            ledger.add("error", "leak", message, column=name, count=1)


def _check_known(segments: Segments, name: str, split: SeriesSplit, ledger: Ledger) -> None:
    """Values known ahead that are missing where they would be read: from the first scored step on."""
    lacking = missing(segments.steps[name])
    owner = np.repeat(np.arange(len(segments)), segments.lengths)
    scored = np.arange(len(owner)) - segments.offsets[owner] >= split.valid[owner]
    holes = np.flatnonzero(lacking & scored)
    if not holes.size:
        return
    first = int(holes[0])
    series, date = segments.ids[owner[first]], _date(segments, first)
    nothing = holes.size == np.sum(scored)
    message = (
        f"column '{name}' is declared known ahead but is missing in {holes.size} of {int(np.sum(scored))} steps after "
        f"the train part, first at {date} of series '{series}'. "
        + ("Give it the role past." if nothing else "Fill the values in, or give it the role past.")
    )
    severity: Severity = "error" if nothing else "warning"
    count = int(holes.size)
    ledger.add(severity, "known-missing", message, column=name, series=series, date=date, count=count)


def _check_target(
    segments: Segments, use: ColumnUse, stretches: list[_Stretch], context_length: int, ledger: Ledger
) -> None:
    column = segments.steps[use.name]
    lacking = missing(column)
    if lacking.all():
        message = f"target '{use.name}' has no value in any row; expected observed values to learn from."
        ledger.add("error", "no-target", message, column=use.name, count=len(column))
        return
    for item in stretches:
        _check_missing_stretch(segments, use.name, item, lacking, context_length, ledger)
        if use.kind == "number":
            _check_flat(segments, use.name, item, column[item.start : item.end], ledger)


def _check_missing_stretch(
    segments: Segments,
    name: str,
    item: _Stretch,
    lacking: npt.NDArray[np.bool_],
    context_length: int,
    ledger: Ledger,
) -> None:
    if item.end == item.start:
        message = f"series '{item.name}' has no observed '{name}'; it can only be forecast from its other columns."
        ledger.add("warning", "no-history", message, column=name, series=item.name)
        return
    start, length = _longest_run(lacking[item.start : item.end])
    if length >= context_length:
        date = _date(segments, item.start + start)
        message = (
            f"series '{item.name}' lacks '{name}' for {length} steps in a row from {date}, at least a whole context of "
            f"{context_length}. Begin the series later, or bring the values."
        )
        ledger.add("warning", "long-missing", message, column=name, series=item.name, date=date, count=length)


def _check_flat(segments: Segments, name: str, item: _Stretch, values: Column, ledger: Ledger) -> None:
    """Constant series, and long runs of zeros within others."""
    observed = values[~missing(values)].astype(np.float64)
    if len(observed) > 1 and observed.min() == observed.max():
        message = f"series '{item.name}' is constant: all {len(observed)} values of '{name}' are {observed[0]:g}."
        ledger.add("warning", "constant", message, column=name, series=item.name, count=len(observed))
        return
    start, length = _longest_run(np.asarray(values == 0))
    season = season_length(segments.frequency) if segments.frequency else 1
    if length >= max(2 * season, 10):
        date = _date(segments, item.start + start)
        message = (
            f"series '{item.name}' has {length} zeros of '{name}' in a row from {date}. "
            "If they stand for values that were not measured, leave the cells empty."
        )
        ledger.add("note", "zeros", message, column=name, series=item.name, date=date, count=length)


def _longest_run(flags: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Start and length of the longest run of True."""
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not starts.size:
        return 0, 0
    longest = int(np.argmax(ends - starts))
    return int(starts[longest]), int(ends[longest] - starts[longest])


def _check_range(segments: Segments, name: str, stretches: list[_Stretch], ledger: Ledger) -> None:
    """Values after the train part that lie far outside what the train part of their series holds."""
    values = segments.steps[name].astype(np.float64, copy=False)
    for item in stretches:
        train, later = values[item.start : item.train_end], values[item.train_end : item.end]
        far = _far_values(train, later)
        if far.size:
            step = item.train_end + int(far[0])
            date = _date(segments, step)
            message = (
                f"series '{item.name}', {date}: '{name}' is {values[step]:g}, far outside the {np.nanmin(train):g} to "
                f"{np.nanmax(train):g} of its train part ({far.size} such steps). Check the unit and the value."
            )
            count = int(far.size)
            ledger.add("warning", "far-value", message, column=name, series=item.name, date=date, count=count)


def _far_values(train: Floats, later: Floats) -> npt.NDArray[np.int64]:
    """Places in `later` that are more than three train ranges away from the train range."""
    seen = train[~missing(train)]
    if len(seen) < 2:
        return np.zeros(0, dtype=np.int64)
    low, high = float(seen.min()), float(seen.max())
    reach = _FAR * (high - low)
    return np.flatnonzero((later < low - reach) | (later > high + reach)) if reach > 0 else np.zeros(0, np.int64)


def _check_step_categories(segments: Segments, use: ColumnUse, split: SeriesSplit, ledger: Ledger) -> None:
    owner = np.repeat(np.arange(len(segments)), segments.lengths)
    trained = np.arange(len(owner)) - segments.offsets[owner] < split.valid[owner]
    _check_unseen(use, segments.steps[use.name], trained, None, ledger)


def _check_static_categories(segments: Segments, use: ColumnUse, split: SeriesSplit, ledger: Ledger) -> None:
    if use.kind == "text":
        _check_unseen(use, segments.static[use.name], split.valid > 0, None, ledger)


def _check_unseen(
    use: ColumnUse,
    column: Column,
    trained: npt.NDArray[np.bool_],
    owner: npt.NDArray[np.int64] | None,
    ledger: Ledger,
) -> None:
    """Categories that occur in the other parts but never in train; as targets they can never be answered."""
    seen = set(column[trained])
    unseen = Counter(value for value in column[~trained] if value is not None and value not in seen)
    if not unseen:
        return
    said = ", ".join(f"'{value}' ({count})" for value, count in unseen.most_common(5))
    more = f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""
    row = None
    if owner is not None:
        row = int(owner[next(i for i in np.flatnonzero(~trained) if column[i] in unseen)]) + 1
    place = f", first in {ledger.at(row)}" if row is not None else ""
    unseen_by = f"that the train part never shows: {said}{more}{place}"
    count = sum(unseen.values())
    if use.role == "target":
        message = f"target '{use.name}' has {len(unseen)} labels {unseen_by}; they cannot be answered."
        ledger.add("warning", "untaught-label", message, column=use.name, row=row, count=count)
        return
    message = f"column '{use.name}' has {len(unseen)} categories {unseen_by}; they are read as unknown."
    ledger.add("warning", "unseen-category", message, column=use.name, row=row, count=count)


def _values(segments: Segments, name: str) -> tuple[Column, npt.NDArray[np.int64]]:
    """A column's values and the example that each belongs to."""
    if name in segments.static:
        return segments.static[name], np.arange(len(segments), dtype=np.int64)
    return segments.steps[name], np.repeat(np.arange(len(segments), dtype=np.int64), segments.lengths)


def _is_category(use: ColumnUse, column: Column) -> bool:
    """Texts that mostly differ are sentences, not categories; a target's always are categories."""
    return use.role == "target" or len(set(column)) <= max(len(column) // 2, 1)


def _check_present(use: ColumnUse, column: Column, owner: npt.NDArray[np.int64], ledger: Ledger) -> None:
    lacking = missing(column)
    if len(column) and lacking.all():
        message = f"column '{use.name}' has no value in any row; expected some. Remove it, or name another column."
        ledger.add("error", "all-missing", message, column=use.name, count=len(column))
        return
    rows = np.unique(owner[lacking]) + 1
    if rows.size and use.role == "target":
        message = (
            f"target '{use.name}' is missing in {ledger.at_rows(rows)}; such rows cannot be learned from. "
            "Fill it in or remove the rows."
        )
        ledger.add("warning", "missing-target", message, column=use.name, row=int(rows[0]), count=int(rows.size))
    present = column[~lacking]
    if len(present) > 1 and (present == present[0]).all():
        message = f"column '{use.name}' is constant: all {len(present)} values are '{present[0]}'; it tells nothing."
        severity: Severity = "error" if use.role == "target" else "warning"
        ledger.add(severity, "constant", message, column=use.name, count=len(present))


def _check_texts(name: str, column: Column, ledger: Ledger) -> None:
    empty = np.flatnonzero(missing(column)) + 1
    if empty.size:
        message = (
            f"column '{name}' has {empty.size} empty texts: {ledger.at_rows(empty)}; they are answered with nothing "
            "read. Fill them in or remove the rows."
        )
        ledger.add("warning", "empty-text", message, column=name, row=int(empty[0]), count=int(empty.size))


def _check_labels(name: str, column: Column, owner: npt.NDArray[np.int64], ledger: Ledger) -> None:
    counts = Counter(value for value in column if value is not None)
    single = [value for value, count in counts.items() if count == 1]
    if single:
        row = int(owner[np.flatnonzero(column == single[0])[0]]) + 1
        said = ", ".join(f"'{value}'" for value in single[:5])
        message = (
            f"target '{name}' has {len(single)} labels seen only once: {said}, first in {ledger.at(row)}; "
            "they cannot be both learned and tested. Check their spelling."
        )
        ledger.add("warning", "label-once", message, column=name, row=row, count=len(single))
    if len(counts) > 1:
        (most, high), (least, low) = counts.most_common(1)[0], counts.most_common()[-1]
        if low < _RARE_SHARE * high:
            message = f"target '{name}' is unbalanced: '{most}' {high} times, '{least}' {low} times."
            ledger.add("note", "imbalance", message, column=name, count=low)


def _check_example_range(
    name: str,
    column: Floats,
    trained: npt.NDArray[np.bool_],
    owner: npt.NDArray[np.int64],
    ledger: Ledger,
) -> None:
    far = _far_values(column[trained], column[~trained])
    if not far.size:
        return
    step = np.flatnonzero(~trained)[far[0]]
    row, seen = int(owner[step]) + 1, column[trained]
    message = (
        f"column '{name}', {ledger.at(row)}: {column[step]:g} is far outside the {np.nanmin(seen):g} to "
        f"{np.nanmax(seen):g} of the train part ({far.size} such values). Check the unit and the value."
    )
    ledger.add("warning", "far-value", message, column=name, row=row, count=int(far.size))


def _check_repeated_examples(
    segments: Segments, uses: Sequence[ColumnUse], split: ExampleSplit, ledger: Ledger
) -> None:
    """Examples outside train whose inputs are all equal to those of a training example.

    Texts are equal that differ in case and spaces only.
    """
    inputs = [use.name for use in uses if not use.asked_for or use.next_asked]
    if not inputs:
        return
    keys = list(_contents(segments, inputs))
    trained = {key: row for row, key in reversed(list(enumerate(keys))) if split.part[row] == "train"}
    twins = [row for row, key in enumerate(keys) if split.part[row] != "train" and key in trained]
    if twins:
        first = twins[0]
        message = (
            f"{len(twins)} examples of the valid and test parts have the inputs of a training example, first "
            f"{ledger.at(first + 1)} those of {ledger.at(trained[keys[first]] + 1)}; scores will flatter. "
            "Remove the copies, or keep them together with data.split.group."
        )
        ledger.add("warning", "repeated-example", message, row=first + 1, count=len(twins))


def _contents(segments: Segments, names: Iterable[str]) -> Iterator[tuple[object, ...]]:
    steps = [segments.steps[name] for name in names if name in segments.steps]
    static = [segments.static[name] for name in names if name in segments.static]
    for s in range(len(segments)):
        span = slice(int(segments.offsets[s]), int(segments.offsets[s + 1]))
        yield (*(_frozen(column[span]) for column in steps), *(_frozen(column[s : s + 1]) for column in static))


def _frozen(values: Column) -> object:
    if values.dtype != object:
        return values.tobytes()
    return tuple(value if value is None else " ".join(value.casefold().split()) for value in values)
