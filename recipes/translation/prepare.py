"""Make `pairs.jsonl` from the files of Multi30k, task 1.

    python recipes/translation/prepare.py SOURCE_DIR OUT_DIR

SOURCE_DIR holds the lower-cased, normalised and tokenised files `train.lc.norm.tok.de`, `val.lc.norm.tok.de` and
`test_2016_flickr.lc.norm.tok.de`, and the same with `.en`, each as it is or with `.gz`; line k of one language belongs
to line k of the other. Each row of the result has `id`, `de`, `en` and `split`.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Iterator
from pathlib import Path

from seqloom.saving import write_json_lines

PARTS = {"train": "train", "valid": "val", "test": "test_2016_flickr"}


def lines(source: Path, part: str, language: str) -> list[str]:
    """The sentences of one part in one language."""
    path = source / f"{PARTS[part]}.lc.norm.tok.{language}"
    packed = Path(f"{path}.gz")
    if path.is_file():
        return path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    if not packed.is_file():
        raise SystemExit(f"error: there is no {path.name} or {packed.name} in {source}; get it from multi30k/dataset")
    return gzip.decompress(packed.read_bytes()).decode().rstrip("\n").split("\n")


def rows(source: Path) -> Iterator[dict[str, str]]:
    for part in PARTS:
        german, english = lines(source, part, "de"), lines(source, part, "en")
        if len(german) != len(english):
            raise SystemExit(f"error: {part} has {len(german)} German lines and {len(english)} English ones")
        for number, (de, en) in enumerate(zip(german, english, strict=True), 1):
            yield {"id": f"{part}-{number}", "de": de, "en": en, "split": part}


def prepare(source: Path, out: Path) -> None:
    pairs = list(rows(source))
    out.mkdir(parents=True, exist_ok=True)
    write_json_lines(out / "pairs.jsonl", pairs)
    print(f"{len(pairs)} pairs written to {out / 'pairs.jsonl'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with the original files")
    parser.add_argument("out", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    prepare(arguments.source, arguments.out)
