"""Memory and time of one exact gradient of a long sequence, of any cell: `python benchmarks/long.py --json long.json`.

The command `seqloom bench long` measures the LSTM alone. Here lengths, budget and core are free, and lengths are also
read once without a budget, where they fit. How it is measured stands in `seqloom/bench/long.py`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from seqloom.bench.long import SIZES, in_a_process


def main() -> None:
    """Measure, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--memory", default="800MB", help="budget, as in training.memory")
    parser.add_argument("--core", type=json.loads, default={}, help='JSON, such as \'{"cell": "gru"}\'')
    parser.add_argument("--whole", type=int, nargs="*", default=[10_000], help="lengths read without a budget too")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    core = SIZES | options.core
    asked = [(steps, options.memory) for steps in options.steps] + [(steps, None) for steps in options.whole]
    rows = [in_a_process({"steps": steps, "memory": memory, "core": core}) for steps, memory in asked]
    peaks = [row["peak_bytes"] for row in rows[: len(options.steps)] if "peak_bytes" in row]
    ratio = peaks[-1] / peaks[0] if len(peaks) > 1 else None
    document = {"core": core, "rows": rows, "peak_of_the_last_to_the_first": ratio}
    text = json.dumps(document, indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
