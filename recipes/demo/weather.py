"""Write the daily weather of Seattle, 2012 to 2015, as the package `vega-datasets` carries it.

python recipes/demo/weather.py OUT.csv
"""

from __future__ import annotations

import sys
from pathlib import Path

from vega_datasets import local_data


def write(out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    weather = local_data.seattle_weather()
    weather.to_csv(out, index=False)
    print(f"{len(weather)} days of weather in Seattle written to {out}")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
