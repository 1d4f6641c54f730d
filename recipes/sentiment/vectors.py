"""Make `vectors.txt`: vectors of words from the texts of the IMDB training reviews, for `inputs.text.vectors`.

    python recipes/sentiment/vectors.py SOURCE_DIR OUT_DIR

SOURCE_DIR holds `imdb_train.tsv.xz`. Read are the texts of its first 20,000 reviews, which are the training part of
`choice`; neither their labels nor any other review. Words are near each other where they have the same neighbours:

    PPMI(w, c) = max(0, log p(w, c) / (p(w) p(c)^0.75 / sum_c' p(c')^0.75)) ~ U S V^T, and word w has row w of U S^0.5

scaled to length 1, where p counts neighbours at most ten words away, near ones more (Levy, Goldberg and Dagan, 2015,
Improving distributional similarity with lessons learned from word embeddings, TACL 3, sections 2.1 and 3).

Each review is read twice, as it stands (can't, film's) and as the treebank of SST-2 cuts it (ca n't, film 's), so that
one file serves both recipes.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import lzma
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from seqloom.saving import atomic_file
from seqloom.tokenizer import WORD

REVIEWS = 20_000
WORDS = 30_000  # the most frequent ones
WINDOW = 10  # words to either side that are neighbours
SIZE = 100  # numbers of a vector
SMOOTHING = 0.75  # power of p(c): rare neighbours say less
CUT = [(r"n['’]t\b", " n't"), (r"['’](s|re|ve|ll|d|m)\b", r" '\1")]  # before n't, and before the apostrophe


def texts(source: Path) -> list[str]:
    """The training reviews in small letters, each as it stands and cut."""
    with lzma.open(source / "imdb_train.tsv.xz", "rt", encoding="utf-8") as lines:
        rows = itertools.islice(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE), REVIEWS)
        plain = [row["text"].replace("<br />", " ").lower() for row in rows]
    return plain + [cut(text) for text in plain]


def cut(text: str) -> str:
    for found, written in CUT:
        text = re.sub(found, written, text)
    return text


def neighbours(codes: npt.NDArray[np.int64], text: npt.NDArray[np.int64], words: int) -> sparse.coo_matrix:
    """(V, V) how often words stand near each other in one text; next to each other is 1, ten words apart a tenth.

    Args:
        codes: (N,) words of all texts, -1 for those without a vector.
        text: (N,) which text each is of.
        words: V.
    """
    total = sparse.csr_matrix((words, words), dtype=np.float32)
    for distance in range(1, WINDOW + 1):
        first, second = codes[:-distance], codes[distance:]
        pair = (first >= 0) & (second >= 0) & (text[:-distance] == text[distance:])
        weight = np.full(pair.sum(), 1 - (distance - 1) / WINDOW, np.float32)
        total = total + sparse.csr_matrix((weight, (first[pair], second[pair])), (words, words))
    return (total + total.T).tocoo()


def embed(counts: sparse.coo_matrix) -> npt.NDArray[np.float32]:
    """(V, SIZE) vectors of length 1."""
    word = np.asarray(counts.sum(axis=1)).ravel()
    context = word**SMOOTHING / (word**SMOOTHING).sum()
    information = np.log(counts.data / word[counts.row] / context[counts.col])
    more = information > 0
    ppmi = sparse.csr_matrix((information[more], (counts.row[more], counts.col[more])), counts.shape)
    left, strength, _ = randomized_svd(ppmi, SIZE, n_iter=4, random_state=0)
    vectors = left * np.sqrt(strength)
    unit: npt.NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-9)
    return unit


def learn(reviews: Sequence[str]) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Words, most frequent first, and their vectors."""
    read = [re.findall(WORD, review) for review in reviews]
    words = [word for word, _ in Counter(itertools.chain.from_iterable(read)).most_common(WORDS)]
    place = {word: code for code, word in enumerate(words)}
    codes = np.array([place.get(word, -1) for word in itertools.chain.from_iterable(read)])
    text = np.repeat(np.arange(len(read)), [len(own) for own in read])
    return words, embed(neighbours(codes, text, len(words)))


def write(words: Sequence[str], vectors: npt.NDArray[np.float32], file: Path) -> None:
    """A word and its numbers on each line, as GloVe writes them."""
    with atomic_file(file) as unfinished, unfinished.open("w", encoding="utf-8") as lines:
        lines.writelines(f"{w} {' '.join(f'{x:.4f}' for x in v)}\n" for w, v in zip(words, vectors, strict=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with imdb_train.tsv.xz")
    parser.add_argument("out", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    if not (arguments.source / "imdb_train.tsv.xz").is_file():
        raise SystemExit(f"error: there is no imdb_train.tsv.xz in {arguments.source}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    words, vectors = learn(texts(arguments.source))
    write(words, vectors, arguments.out / "vectors.txt")
    print(f"{len(words)} vectors of {SIZE} numbers written to {arguments.out / 'vectors.txt'}")
