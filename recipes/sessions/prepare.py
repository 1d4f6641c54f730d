"""Make `sessions.jsonl` from click or listening sessions as they are published with GCE-GNN (SIGIR 2020).

    python recipes/sessions/prepare.py SOURCE_DIR OUT_DIR

SOURCE_DIR holds `train_sessions.txt.gz`, one session on each line, items apart by spaces, and
`test_prefix_target.tsv.gz`, beginnings of later sessions, a tab, and the item that follows: every session stands there
once for each item from its second on, longest first. Such lines are put together again, so that each row of the result
is one session: `id`, `items`, and `split`: the last fiftieth of the training sessions is `valid`, and no more, since
the newest sessions say most about those to come.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Iterator
from pathlib import Path

from seqloom.saving import write_json_lines

Session = list[str]


def lines(source: Path, name: str) -> list[str]:
    path = source / name
    if not path.is_file():
        raise SystemExit(f"error: there is no {name} in {source}; expected the sessions as published with GCE-GNN")
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def whole(prefixes: list[str]) -> Iterator[Session]:
    """The sessions that lines of `beginning<TAB>item` were cut from."""
    shorter: Session = []
    for line in prefixes:
        beginning, _, item = line.partition("\t")
        read = beginning.split()
        if [*read, item] != shorter:
            yield [*read, item]
        shorter = read


def prepare(source: Path, out: Path) -> None:
    learned = [line.split() for line in lines(source, "train_sessions.txt.gz")]
    prefixes = lines(source, "test_prefix_target.tsv.gz")
    tested = list(whole(prefixes))
    asked = sum(len(session) - 1 for session in tested)
    if asked != len(prefixes):
        raise SystemExit(f"error: {len(prefixes)} beginnings make sessions that ask {asked} times; expected as many")
    first_valid = len(learned) - len(learned) // 50
    parts = ["train"] * first_valid + ["valid"] * (len(learned) - first_valid) + ["test"] * len(tested)
    out.mkdir(parents=True, exist_ok=True)
    rows = [
        {"id": f"{part}-{number}", "items": items, "split": part}
        for number, (items, part) in enumerate(zip(learned + tested, parts, strict=True), start=1)
    ]
    write_json_lines(out / "sessions.jsonl", rows)
    print(f"{len(parts)} sessions written to {out / 'sessions.jsonl'}; the test part asks for {asked} items")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with the original files")
    parser.add_argument("out", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    prepare(arguments.source, arguments.out)
