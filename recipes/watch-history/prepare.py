"""Make `films.jsonl` from MovieLens 100k, or `games.jsonl` from Amazon's game reviews as used with SASRec.

    python recipes/watch-history/prepare.py SOURCE_DIR OUT_DIR

SOURCE_DIR holds `u.data` and `u.item` (films), or `Video.txt` or `Video.txt.gz` with a user and an item on each line,
in the order of time (games). Each user gives three rows, with `id`, `items`, `asked_from` and `split`: the history less
its last two items to learn from; with the next one, which alone is asked for, as `valid`; and with the last one, which
alone is asked for, as `test`. Users with fewer than three items are only learned from. Films have their `ratings` too.
"""

from __future__ import annotations

import argparse
import gzip
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqloom.saving import write_json_lines

History = list[tuple[str, int | None]]  # item and rating


def films(source: Path) -> dict[str, History]:
    """Each user's films in the order of time; equal times in the order of the file."""
    rows = [line.split("|")[:2] for line in (source / "u.item").read_text(encoding="latin-1").splitlines()]
    twice = {title for title, count in Counter(title for _, title in rows).items() if count > 1}
    titles = {number: f"{title} [{number}]" if title in twice else title for number, title in rows}
    found: dict[str, list[tuple[int, str, int]]] = defaultdict(list)
    for line in (source / "u.data").read_text().splitlines():
        user, film, rating, time = line.split()
        found[user].append((int(time), titles[film], int(rating)))
    return {
        user: [(film, rating) for _, film, rating in sorted(seen, key=lambda e: e[0])] for user, seen in found.items()
    }


def games(text: str) -> dict[str, History]:
    """Each user's games, which are in the order of time already."""
    found: dict[str, History] = defaultdict(list)
    for line in text.splitlines():
        user, game = line.split()
        found[user].append((game, None))
    return found


def rows(user: str, history: History) -> Iterator[dict[str, Any]]:
    """The rows of one user; only the last item of those that are not learned from is asked for."""
    parts = ["train", "valid", "test"] if len(history) > 2 else ["train"]
    for later, part in enumerate(parts):
        seen = history[: len(history) - len(parts) + 1 + later]
        row = {"id": f"{user}-{part}", "items": [item for item, _ in seen]}
        if seen[0][1] is not None:
            row["ratings"] = [rating for _, rating in seen]
        yield {**row, "asked_from": 2 if part == "train" else len(seen), "split": part}


def histories(source: Path) -> tuple[str, dict[str, History]]:
    """The name of the table, and what stands in it."""
    if (source / "u.data").is_file() and (source / "u.item").is_file():
        return "films.jsonl", films(source)
    if (source / "Video.txt").is_file():
        return "games.jsonl", games((source / "Video.txt").read_text())
    if (source / "Video.txt.gz").is_file():
        return "games.jsonl", games(gzip.decompress((source / "Video.txt.gz").read_bytes()).decode())
    raise SystemExit(f"error: there is no u.data with u.item and no Video.txt in {source}; see --help")


def prepare(source: Path, out: Path) -> None:
    name, found = histories(source)
    out.mkdir(parents=True, exist_ok=True)
    write_json_lines(out / name, (row for user, seen in found.items() for row in rows(user, seen)))
    print(f"{sum(map(len, found.values()))} events of {len(found)} users written to {out / name}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with the original files")
    parser.add_argument("out", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    prepare(arguments.source, arguments.out)
