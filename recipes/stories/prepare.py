"""Make `stories.jsonl` from the bAbI question answering tasks.

    python recipes/stories/prepare.py SOURCE_DIR OUT_DIR

SOURCE_DIR holds `babi_en_1k.tar.gz` with `en/qa1_..._train.txt` and so on: numbered sentences, and questions with
an answer and the numbers of the sentences it rests on, which are not used. Each row of the result is a question
with `id`, `task` (1 to 20), `story` (all sentences before it), `question`, `answer` (lists are one class) and
`split`: the published test files are `test`, the last tenth of each training file's stories is `valid`.
"""

from __future__ import annotations

import argparse
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from seqloom.saving import write_json_lines

Row = dict[str, str]


def questions(text: str) -> Iterator[tuple[int, Row]]:
    """Each question with the number of its story, counted from 0."""
    story: list[str] = []
    number = -1
    for line in text.splitlines():
        place, _, said = line.strip().partition(" ")
        if place == "1":
            story, number = [], number + 1
        question, *answer = said.split("\t")
        if answer:
            yield number, {"story": " ".join(story), "question": question.strip(), "answer": answer[0]}
        else:
            story.append(said)


def task_rows(task: str, part: str, text: str) -> Iterator[Row]:
    found = list(questions(text))
    stories = found[-1][0] + 1
    for k, (story, row) in enumerate(found):
        split = "test" if part == "test" else "valid" if story >= stories - stories // 10 else "train"
        yield {"id": f"{task}-{part}-{k + 1}", "task": task, **row, "split": split}


def prepare(source: Path, out: Path) -> None:
    archive = source / "babi_en_1k.tar.gz"
    if not archive.is_file():
        raise SystemExit(f"error: there is no {archive.name} in {source}")
    rows = []
    with tarfile.open(archive) as files:
        for member in files.getmembers():
            name = re.search(r"qa(\d+)_.*_(train|test)\.txt$", member.name)
            file = files.extractfile(member) if name else None
            if name and file:
                rows += task_rows(name[1], name[2], file.read().decode())
    rows.sort(key=lambda row: (int(row["task"]), row["split"] == "test"))
    out.mkdir(parents=True, exist_ok=True)
    write_json_lines(out / "stories.jsonl", rows)
    print(f"{len(rows)} questions written to {out / 'stories.jsonl'}: {dict(Counter(row['split'] for row in rows))}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with the original file")
    parser.add_argument("out", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    prepare(arguments.source, arguments.out)
