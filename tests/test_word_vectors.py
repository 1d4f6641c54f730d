"""Word vectors from files: both formats, and what is wrong with a file is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seqloom.errors import DataError
from seqloom.word_vectors import read_word_vectors

GLOVE = "the 1 2 3\ncafé 4 5 -6e-1\nunused 7 8 9\n"


@pytest.mark.parametrize("header", ["", "3 3\n"], ids=["GloVe", "word2vec"])
def test_each_word_gets_its_vector_and_others_none(header: str, tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(header + GLOVE)
    found = read_word_vectors(path, ["absent", "café", "the"])
    assert found[0].isnan().all()
    torch.testing.assert_close(found[1:], torch.tensor([[4, 5, -0.6], [1, 2, 3]]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the 1 2 3\ncat 1 2\n", "line 2: 2 numbers follow the word; expected 3 as on the first line"),
        ("the 1 2 3\ncat 1 x 2\n", "line 2: could not convert string to float"),
        ("the 1 2 3\ncat 1 nan 2\n", "line 2: a number is not finite"),
        ("dog 1 2 3\n", "has vectors for none of the 2 tokens"),
        ("", "has vectors for none of the 2 tokens"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_word_vectors(path, ["the", "cat"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file of word vectors '.*nowhere\.txt'"):
        read_word_vectors(tmp_path / "nowhere.txt", ["the"])
