"""Make `cash.csv` from the NN5 competition's daily withdrawals at 111 cash machines.

    python recipes/cash-machines/prepare.py SOURCE_DIR OUT_DIR

SOURCE_DIR holds `nn5_daily.csv` or `nn5_daily.csv.gz`: `date` and a column for each machine, empty where missing.
A day on which a machine gave out nothing at all was no day of demand: its zero is left empty too, and counted.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import polars as pl

from seqloom.saving import atomic_file


def prepare(source: Path, out: Path) -> None:
    path, packed = source / "nn5_daily.csv", source / "nn5_daily.csv.gz"
    if not (path.is_file() or packed.is_file()):
        raise SystemExit(
            f"error: there is no nn5_daily.csv or nn5_daily.csv.gz in {source}; get it from the NN5 competition"
        )
    table = pl.read_csv(path if path.is_file() else gzip.decompress(packed.read_bytes()))
    machines = pl.exclude("date").cast(pl.Float64)
    zeros = int(table.select((machines == 0).sum()).sum_horizontal()[0])
    gaps = int(table.select(machines.is_null().sum()).sum_horizontal()[0])
    cleaned = table.with_columns(pl.when(machines != 0).then(machines))
    out.mkdir(parents=True, exist_ok=True)
    with atomic_file(out / "cash.csv") as file:
        cleaned.write_csv(file)
    print(
        f"{len(cleaned)} days of {table.width - 1} machines written to {out / 'cash.csv'}; "
        f"{gaps} missing, {zeros} zeros"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with the original file")
    parser.add_argument("out", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    prepare(arguments.source, arguments.out)
