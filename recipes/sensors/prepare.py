"""Make `vowels.jsonl` from the JapaneseVowels files of the UEA archive.

    python recipes/sensors/prepare.py SOURCE_DIR OUT_DIR

SOURCE_DIR holds `JapaneseVowels_TRAIN.ts` and `JapaneseVowels_TEST.ts`, or the same with `.gz`: one utterance on
each line, 12 channels apart by `:`, their values by `,`, and the speaker last. Each row of the result has `id`,
`coefficients` (T lists of 12 numbers), `speaker`, `split` (the archive's own train and test) and `choice`: for
choosing settings without a look at the test part, the last third of each speaker's training utterances is `valid`.
"""

from __future__ import annotations

import argparse
import gzip
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from seqloom.saving import write_json_lines

Utterance = tuple[list[list[float]], str]


def utterances(source: Path, part: str) -> Iterator[Utterance]:
    """Coefficients (T, 12) and speaker of each case."""
    path = source / f"JapaneseVowels_{part}.ts"
    packed = path.with_suffix(".ts.gz")
    if not (path.is_file() or packed.is_file()):
        raise SystemExit(f"error: there is no {path.name} or {packed.name} in {source}; get it from the UEA archive")
    with path.open() if path.is_file() else gzip.open(packed, "rt") as lines:
        for line in lines:
            if line.strip() and line[0] not in "#@":
                *channels, speaker = line.strip().split(":")
                columns = [[float(value) for value in channel.split(",")] for channel in channels]
                yield [list(step) for step in zip(*columns, strict=True)], speaker


def prepare(source: Path, out: Path) -> None:
    rows = []
    for part in ("train", "test"):
        found = list(utterances(source, part.upper()))
        sizes, seen = Counter(speaker for _, speaker in found), Counter[str]()
        for coefficients, speaker in found:
            seen[speaker] += 1
            late = seen[speaker] > sizes[speaker] * 2 / 3
            choice = "test" if part == "test" else "valid" if late else "train"
            rows.append(
                {
                    "id": f"{part}-{len(rows) + 1}",
                    "coefficients": coefficients,
                    "speaker": f"speaker {speaker}",
                    "split": part,
                    "choice": choice,
                }
            )
    out.mkdir(parents=True, exist_ok=True)
    write_json_lines(out / "vowels.jsonl", rows)
    print(f"{len(rows)} utterances written to {out / 'vowels.jsonl'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with the original files")
    parser.add_argument("out", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    prepare(arguments.source, arguments.out)
