"""Make `paragraphs.jsonl` from articles of SQuAD 1.1.

    python recipes/paragraphs/prepare.py SOURCE_DIR OUT_DIR

SOURCE_DIR holds `train.json.gz` and `valid.json.gz` in the layout of SQuAD. Each row of the result is a question with
`id`, `title`, `question`, `paragraph`, `answer` (what most people gave, the first of equals), `answer_2`,
`answer_3` (other answers, where there are any) and `split`: the articles of `valid.json.gz` are `test`; of the
training articles every sixth is `valid`, so that no article stands in two parts. `answer_start` is not used: in these
files it is the first place at which the answer occurs, which need not be the one that was meant.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqloom.saving import write_json_lines

ANSWERS = ("answer", "answer_2", "answer_3")


def rows(articles: list[dict[str, Any]], test: bool) -> Iterator[dict[str, str | None]]:
    for number, article in enumerate(articles):
        split = "test" if test else "valid" if number % 6 == 5 else "train"
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                given = [text for text, _ in Counter(a["text"] for a in asked["answers"]).most_common(len(ANSWERS))]
                answers: dict[str, str | None] = dict.fromkeys(ANSWERS)
                yield {
                    "id": asked["id"],
                    "title": article["title"],
                    "question": asked["question"],
                    "paragraph": paragraph["context"],
                    **answers,
                    **dict(zip(ANSWERS, given, strict=False)),
                    "split": split,
                }


def prepare(source: Path, out: Path) -> None:
    found = []
    for name in ("train", "valid"):
        file = source / f"{name}.json.gz"
        if not file.is_file():
            raise SystemExit(f"error: there is no {file.name} in {source}")
        found += rows(json.loads(gzip.decompress(file.read_bytes()))["data"], test=name == "valid")
    out.mkdir(parents=True, exist_ok=True)
    write_json_lines(out / "paragraphs.jsonl", found)
    counts = dict(Counter(row["split"] for row in found))
    print(f"{len(found)} questions written to {out / 'paragraphs.jsonl'}: {counts}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with the original files")
    parser.add_argument("out", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    prepare(arguments.source, arguments.out)
