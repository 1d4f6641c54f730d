"""Score forecasts of the cash machines as the published comparisons do.

    python recipes/cash-machines/score.py OUT_DIR/cash.csv FORECASTS.csv [--zeros SOURCE_DIR]

Observed days only; with --zeros, days without any withdrawal count too, as zeros of the original file.
sMAPE is 200 |y - f| / (|y| + |f|). MASE is divided by the mean |y_t - y_(t-7)| of the days before the test part, gaps
filled with the same weekday's last value. sMAPE(eps) is the bounded form 2 |y - f| / max(|y| + |f| + 0.1, 0.6) that the
56-day comparison uses. All are means over each series, then over series.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np
import polars as pl


def season_scale(values: np.ndarray) -> float:
    """Mean |y_t - y_(t-7)| after filling each gap with the last value of its weekday."""
    filled = values.copy()
    for t in range(7, len(filled)):
        if np.isnan(filled[t]):
            filled[t] = filled[t - 7]
    return float(np.nanmean(np.abs(filled[7:] - filled[:-7])))


def with_zeros(forecasts: pl.DataFrame, source: Path) -> pl.DataFrame:
    """The forecasts with the truth of the original file."""
    path, packed = source / "nn5_daily.csv", source / "nn5_daily.csv.gz"
    original = pl.read_csv(path if path.is_file() else gzip.decompress(packed.read_bytes()))
    truth = original.unpivot(index="date", variable_name="unique_id", value_name="truth")
    joined = forecasts.join(truth, left_on=["unique_id", "ds"], right_on=["unique_id", "date"], how="left")
    return joined.with_columns(y=pl.col("truth").cast(pl.Float64))


def score(table: Path, forecasts: Path, zeros: Path | None = None) -> dict[str, float]:
    """sMAPE, MASE, sMAPE(eps) and MAE."""
    history = pl.read_csv(table)
    answers = pl.read_csv(forecasts)
    found = (answers if zeros is None else with_zeros(answers, zeros)).drop_nulls("y")
    rows_of_all: list[list[float]] = []
    for (machine,), rows in found.group_by("unique_id"):
        y, f = rows["y"].to_numpy(), rows["y_hat"].to_numpy()
        before = history[str(machine)].cast(pl.Float64).fill_null(np.nan).to_numpy()[:-56]
        error = np.abs(y - f)
        size = np.abs(y) + np.abs(f)
        smape, bounded = 200 * error / size, 2 * error / np.maximum(size + 0.1, 0.6)
        rows_of_all.append([smape.mean(), error.mean() / season_scale(before), bounded.mean(), error.mean()])
    means = np.mean(rows_of_all, axis=0).tolist()
    return dict(zip(("sMAPE", "MASE", "sMAPE(eps)", "MAE"), means, strict=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("forecasts", type=Path)
    parser.add_argument("--zeros", type=Path, help="folder with the original file")
    arguments = parser.parse_args()
    found = score(arguments.table, arguments.forecasts, arguments.zeros)
    print(", ".join(f"{name} {value:.4f}" for name, value in found.items()))
