"""Score forecasts of the cash machines as the published comparisons do.

    python recipes/cash-machines/score.py OUT_DIR/cash.csv FORECASTS.csv

Observed days only. sMAPE is 200 |y - f| / (|y| + |f|), MASE is divided by the mean |y_t - y_(t-7)| of the days before
the test part, gaps filled with the same weekday's last value; both are means over each series, then over series.
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


def score(table: Path, forecasts: Path) -> tuple[float, float]:
    history = pl.read_csv(table)
    found = pl.read_csv(forecasts).drop_nulls("y")
    smape, mase = [], []
    for (machine,), rows in found.group_by("unique_id"):
        y, f = rows["y"].to_numpy(), rows["y_hat"].to_numpy()
        before = history[str(machine)].cast(pl.Float64).fill_null(np.nan).to_numpy()[:-56]
        smape.append(np.mean(200 * np.abs(y - f) / (np.abs(y) + np.abs(f))))
        mase.append(np.mean(np.abs(y - f)) / season_scale(before))
    return float(np.mean(smape)), float(np.mean(mase))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("forecasts", type=Path)
    arguments = parser.parse_args()
    print("sMAPE {:.3f}, MASE {:.4f}".format(*score(arguments.table, arguments.forecasts)))
