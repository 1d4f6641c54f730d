"""Make `ridership.csv` from the Chicago Transit Authority's file of daily boardings.

    python recipes/ridership/prepare.py SOURCE_DIR OUT_DIR

SOURCE_DIR holds `CTA_-_Ridership_-_Daily_Boarding_Totals.csv` (columns service_date as MM/DD/YYYY, day_type,
bus, rail_boardings, total_rides). Rows that repeat another one exactly are dropped and counted; nothing else changes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

from seqloom.saving import atomic_file

SOURCE = "CTA_-_Ridership_-_Daily_Boarding_Totals.csv"


def prepare(source: Path, out: Path) -> None:
    path = source / SOURCE
    if not path.is_file():
        raise SystemExit(f"error: there is no {SOURCE} in {source}; get it from the City of Chicago's data portal")
    table = pl.read_csv(path)
    distinct = table.unique()
    days = distinct.select(
        pl.col("service_date").str.to_date("%m/%d/%Y").alias("ds"),
        "day_type",
        "bus",
        pl.col("rail_boardings").alias("rail"),
    ).sort("ds")
    out.mkdir(parents=True, exist_ok=True)
    with atomic_file(out / "ridership.csv") as file:
        days.write_csv(file)
    print(f"{len(days)} days written to {out / 'ridership.csv'}; {len(table) - len(distinct)} repeated rows dropped")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with the original file")
    parser.add_argument("out", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    prepare(arguments.source, arguments.out)
