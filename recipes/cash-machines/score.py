"""Score forecasts of the cash machines as the published comparisons do.

    python recipes/cash-machines/score.py OUT_DIR/cash.csv FORECASTS.csv

Observed days only. sMAPE is 200 |y - f| / (|y| + |f|), MASE is divided by the mean |y_t - y_(t-7)| of the days before
the test part, gaps filled with the same weekday's last value. sMAPE(eps) is the bounded form
2 |y - f| / max(|y| + |f| + 0.1, 0.6) that the 56-day comparison uses. All are means over each series, then over series.
"""

from __future__ import annotations

import argparse
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


def score(table: Path, forecasts: Path) -> dict[str, float]:
    """sMAPE, MASE, sMAPE(eps) and MAE."""
    history = pl.read_csv(table)
    found = pl.read_csv(forecasts).drop_nulls("y")
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
    arguments = parser.parse_args()
    print(", ".join(f"{name} {value:.4f}" for name, value in score(arguments.table, arguments.forecasts).items()))
