"""Make `sst2.jsonl` or `imdb.jsonl`, whichever the source folder holds the files of.

    python recipes/sentiment/prepare.py SOURCE_DIR OUT_DIR

SOURCE_DIR holds `train.tsv` and `dev.tsv` of SST-2 (sentence, then 1 or 0), or `imdb_train.tsv.xz` and
`imdb_test.tsv.xz` (columns id, label, rating, text). Each row of the result has `id`, `text`, `mood` (positive or
negative), `split` (train, and test for the published dev or test file) and `choice`: for choosing settings without a
look at the test part, every tenth training sentence of SST-2, or the last 5,000 training reviews of IMDB, is `valid`.
"""

from __future__ import annotations

import argparse
import csv
import lzma
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from seqloom.saving import write_json_lines

MOODS = {"1": "positive", "0": "negative"}
Row = dict[str, str]


def row(name: str, text: str, label: str, *, test: bool, chosen: bool) -> Row:
    split = "test" if test else "train"
    choice = "valid" if chosen and not test else split
    return {"id": name, "text": text, "mood": MOODS[label], "split": split, "choice": choice}


def sst2(source: Path) -> Iterator[Row]:
    for part in ("train", "dev"):
        lines = (source / f"{part}.tsv").read_text(encoding="utf-8").splitlines()
        for k, line in enumerate(lines):
            text, label = line.rsplit("\t", 1)
            yield row(f"{part}-{k + 1}", text, label, test=part == "dev", chosen=k % 10 == 9)


def imdb(source: Path) -> Iterator[Row]:
    for part in ("train", "test"):
        with lzma.open(source / f"imdb_{part}.tsv.xz", "rt", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
        for k, read in enumerate(rows):
            text = read["text"].replace("<br />", " ")
            yield row(read["id"], text, read["label"], test=part == "test", chosen=k >= len(rows) - 5000)


def prepare(source: Path, out: Path) -> None:
    if (source / "train.tsv").is_file() and (source / "dev.tsv").is_file():
        name, rows = "sst2", list(sst2(source))
    elif (source / "imdb_train.tsv.xz").is_file() and (source / "imdb_test.tsv.xz").is_file():
        name, rows = "imdb", list(imdb(source))
    else:
        raise SystemExit(
            f"error: there is no train.tsv and dev.tsv, nor imdb_train.tsv.xz and imdb_test.tsv.xz, in {source}"
        )
    out.mkdir(parents=True, exist_ok=True)
    write_json_lines(out / f"{name}.jsonl", rows)
    print(f"{len(rows)} texts written to {out / f'{name}.jsonl'}: {dict(Counter(row['choice'] for row in rows))}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with the original files")
    parser.add_argument("out", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    prepare(arguments.source, arguments.out)
