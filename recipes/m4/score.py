"""Score M4 forecasts as the competition did: the mean of sMAPE and MASE, each relative to its benchmark Naive2.

python recipes/m4/score.py weekly|hourly OUT_DIR FORECASTS.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl


class Protocol(NamedTuple):
    """Season of MASE, horizon, and the published sMAPE and MASE of Naive2."""

    season: int
    horizon: int
    smape: float
    mase: float


PROTOCOLS = {"weekly": Protocol(1, 13, 9.161, 2.777), "hourly": Protocol(24, 48, 18.383, 2.395)}


def score(subset: str, table: Path, forecasts: Path) -> tuple[float, float, float]:
    """sMAPE, MASE and OWA, means over series."""
    protocol = PROTOCOLS[subset]
    history = pl.read_csv(table, schema_overrides={"y": pl.Float64}).partition_by("unique_id", as_dict=True)
    smape, mase = [], []
    for name, rows in pl.read_csv(forecasts).group_by("unique_id"):
        past = history[name]["y"].to_numpy()[: -protocol.horizon]
        y, f = rows["y"].to_numpy(), rows["y_hat"].to_numpy()
        smape.append(np.mean(200 * np.abs(y - f) / (np.abs(y) + np.abs(f))))
        mase.append(np.mean(np.abs(y - f)) / np.mean(np.abs(past[protocol.season :] - past[: -protocol.season])))
    found = float(np.mean(smape)), float(np.mean(mase))
    return *found, (found[0] / protocol.smape + found[1] / protocol.mase) / 2


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subset", choices=PROTOCOLS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("forecasts", type=Path)
    given = parser.parse_args()
    results = score(given.subset, given.folder / f"{given.subset}.csv", given.forecasts)
    print("sMAPE {:.3f}, MASE {:.3f}, OWA {:.3f}".format(*results))
