"""Make `weekly.csv` and `hourly.csv` from the weekly and hourly files of the M4 competition.

    python recipes/m4/prepare.py SOURCE_DIR OUT_DIR

SOURCE_DIR holds `Weekly-train.csv`, `Weekly-test.csv`, `Hourly-train.csv` and `Hourly-test.csv`, or the same with
`.gz`: one series in each row. The result is a long table `unique_id, ds, y`, train and test joined. The files
give no dates, so every series starts on the same made-up one; no recipe here reads a calendar.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from seqloom.saving import atomic_file

SUBSETS = {
    "Weekly": (datetime(1970, 1, 5), timedelta(weeks=1)),
    "Hourly": (datetime(2015, 1, 1), timedelta(hours=1)),
}


def series(source: Path, name: str) -> Iterator[tuple[str, list[str]]]:
    """Id and values of each row of a file."""
    path = source / f"{name}.csv"
    packed = path.with_suffix(".csv.gz")
    if not (path.is_file() or packed.is_file()):
        raise SystemExit(f"error: there is no {path.name} or {packed.name} in {source}; get it from the M4 competition")
    with path.open(newline="") if path.is_file() else gzip.open(packed, "rt", newline="") as lines:
        rows = csv.reader(lines)
        next(rows)
        for row in rows:
            yield row[0], [value for value in row[1:] if value]


def prepare(source: Path, out: Path) -> None:
    found = {subset: [dict(series(source, f"{subset}-{part}")) for part in ("train", "test")] for subset in SUBSETS}
    out.mkdir(parents=True, exist_ok=True)
    for subset, (start, step) in SUBSETS.items():
        before, ahead = found[subset]
        target = out / f"{subset.lower()}.csv"
        with atomic_file(target) as file, file.open("w", newline="") as lines:
            table = csv.writer(lines)
            table.writerow(["unique_id", "ds", "y"])
            for name, values in before.items():
                every = values + ahead[name]
                table.writerows((name, (start + k * step).isoformat(" "), value) for k, value in enumerate(every))
        print(f"{len(before)} series written to {target}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with the original files")
    parser.add_argument("out", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    prepare(arguments.source, arguments.out)
