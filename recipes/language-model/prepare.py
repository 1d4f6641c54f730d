"""Make `words.jsonl` and `characters.jsonl` from the Penn Treebank text in Mikolov's preprocessing.

    python recipes/language-model/prepare.py SOURCE_DIR OUT_DIR

SOURCE_DIR holds `ptb.train.txt`, `ptb.valid.txt` and `ptb.test.txt`, or the same with `.gz`: a sentence on each line.
Each part is one row: its text from the first word to the last as `words`, every sentence ended by `</s>`; or as
`characters`, those of its lines less the blank that each begins with, line ends included.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

from seqloom.saving import write_json_lines

PARTS = ("train", "valid", "test")


def text(source: Path, part: str) -> str:
    path = source / f"ptb.{part}.txt"
    packed = path.with_name(f"{path.name}.gz")
    if not (path.is_file() or packed.is_file()):
        raise SystemExit(
            f"error: there is no {path.name} or {packed.name} in {source}; expected the Penn Treebank text"
        )
    return path.read_text() if path.is_file() else gzip.decompress(packed.read_bytes()).decode()


def prepare(source: Path, out: Path) -> None:
    texts = {part: text(source, part) for part in PARTS}
    words = {part: " ".join(f"{line} </s>" for line in whole.splitlines()).split() for part, whole in texts.items()}
    characters = {
        part: list("".join(line.removeprefix(" ") for line in whole.splitlines(keepends=True)))
        for part, whole in texts.items()
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, parts in (("words", words), ("characters", characters)):
        rows = ({"id": part, name: items, "split": part} for part, items in parts.items())
        write_json_lines(out / f"{name}.jsonl", rows)
        counts = ", ".join(f"{part} {len(items)}" for part, items in parts.items())
        print(f"{counts} {name} written to {out / f'{name}.jsonl'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with the original files")
    parser.add_argument("out", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    prepare(arguments.source, arguments.out)
