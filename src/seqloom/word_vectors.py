"""Word vectors in a text file, as word2vec and GloVe write them: a word and its numbers on each line.

A file of word2vec begins with a line that says how many words and numbers follow; one of GloVe does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seqloom.errors import DataError


def read_word_vectors(path: Path, words: Sequence[str]) -> Tensor:
    """(len(words), F) float32: the vector of each word, NaN for words that the file lacks.

    Raises:
        DataError: the file is missing, is no such file, or has none of the words; names the line.
    """
    if not path.is_file():
        raise DataError(f"there is no file of word vectors '{path}'; expected a text file with a word on each line")
    places = {word.encode(): place for place, word in enumerate(words)}
    found: dict[int, np.ndarray[tuple[int], np.dtype[np.float32]]] = {}
    size = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            word, *numbers = line.rstrip().split(b" ")
            if number == 1 and len(numbers) == 1:
                continue  # the header of word2vec
            size = size or len(numbers)
            place = places.get(word)
            if len(numbers) != size or size < 2:
                raise DataError(
                    f"'{path}', line {number}: {len(numbers)} numbers follow the word; expected {max(size, 2)} as on "
                    "the first line. Expected the text format of word2vec or GloVe, separated by single spaces."
                )
            if place is not None:
                found[place] = _numbers(numbers, path, number)
    if not found:
        raise DataError(f"'{path}' has vectors for none of the {len(words)} tokens. Is it of another language or case?")
    vectors = np.full((len(words), size), np.nan, np.float32)
    vectors[list(found)] = np.stack(list(found.values()))
    return torch.from_numpy(vectors)


def _numbers(numbers: list[bytes], path: Path, line: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    try:
        vector = np.array(numbers, dtype=np.float32)
    except ValueError as error:
        raise DataError(f"'{path}', line {line}: {error}; expected numbers after the word") from None
    if not np.isfinite(vector).all():
        raise DataError(f"'{path}', line {line}: a number is not finite; expected finite numbers after the word")
    return vector
