"""Whole texts: reviews, questions, stories. Each becomes a sequence of tokens with a time axis of its own."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from seqloom.data.ledger import Ledger
from seqloom.data.segments import Column
from seqloom.errors import DataError
from seqloom.inputs.input import InputSettings, OwnAxis
from seqloom.scaling import Scale
from seqloom.sequences import Ragged
from seqloom.tokenizer import END, MARKS, UNKNOWN, Integers, Keep, Tokenizer, TokenizerSettings, Tokens
from seqloom.word_vectors import read_word_vectors

SPREAD = 0.1  # deviation of new embeddings: rare words are seldom learned, and should say little until they are


class TextSettings(TokenizerSettings, InputSettings):
    """What a recipe may say of a text."""

    max_length: int = Field(400, ge=1, description="tokens of each text that are read at most")
    keep: Keep = Field("both", description="which tokens of a longer text: start, end, or both: half from either end")
    size: int = Field(64, ge=1, description="features of a token's embedding; with vectors, theirs")
    vectors: str | None = Field(
        None,
        description="file of word vectors to start from, as word2vec or GloVe write them as text; a relative path "
        "begins at the folder of the data",
    )
    unknown_rate: float = Field(
        0.02, ge=0, lt=1, description="share of tokens shown as unknown in training, so that unseen ones are handled"
    )


class ReadTokens(NamedTuple):
    """The tokens of S rows as a model reads them, N in all.

    Attributes:
        offsets: (S + 1,) first token of each row, then N.
        codes: (N,) numbers in the vocabulary.
        column: (N,) number of the column that each token is from.
        spans: (N, 2) its characters within the text of that column; an end mark has none, at the end of what is read.
    """

    offsets: Integers
    codes: Integers
    column: Integers
    spans: Integers


class Text(OwnAxis):
    """A learned embedding of each token; tokens that the training part does not have share one.

    Several columns are read one after the other, an end mark between them. Each step then also says which
    column it is from (added to the embedding), and whether its token occurs in another column of the row (one more
    feature).
    """

    Settings = TextSettings
    reads_text = True
    missing = 0.0

    def __init__(self, name: str, settings: TextSettings) -> None:
        super().__init__(name, settings)
        self.settings = settings
        self.tokenizer: Tokenizer
        self._vectors: Tensor | None = None

    def fit(self, values: Column) -> None:
        """The vocabulary of the training part.

        Raises:
            DataError: the training part has no text.
        """
        texts = [text for text in values.flatten().tolist() if text is not None]
        self.tokenizer = Tokenizer.fit(texts, self.settings, self.settings.max_length, self.settings.keep)
        if len(self.tokenizer) == len(MARKS):
            raise DataError(f"input {self.name!r}: the training part has no text at all; expected some words")
        self.size = self.settings.size

    @property
    def files(self) -> Mapping[str, str]:
        """The word vectors."""
        return {} if self.settings.vectors is None else {"vectors": self.settings.vectors}

    def read_file(self, setting: str, path: Path) -> None:
        """The vectors of the words that the file has; their size becomes that of the embedding."""
        self._vectors = read_word_vectors(path, self.tokenizer.words)
        self.size = self._vectors.shape[1]

    def fitted(self) -> dict[str, Any]:
        """The tokenizer as its library writes it, and the size of the embedding."""
        return {"tokenizer": self.tokenizer.to_json(), "size": self.size}

    def restore(self, fitted: dict[str, Any]) -> None:
        """The tokenizer and the size."""
        self.tokenizer = Tokenizer.from_json(fitted["tokenizer"])
        self.size = int(fitted["size"])

    def build(self) -> None:
        """The embeddings of tokens and, where there are several, of columns."""
        several = len(self.columns) > 1
        self.features = self.size + several
        self.embedding = nn.Embedding(len(self.tokenizer), self.size)
        self.column = nn.Embedding(len(self.columns), self.size) if several else None
        for part in (self.embedding, self.column):
            if part is not None:
                nn.init.normal_(part.weight, std=SPREAD)
        if self._vectors is not None:
            known = ~self._vectors.isnan().any(dim=1)
            with torch.no_grad():
                self.embedding.weight[known] = self._vectors[known].to(self.embedding.weight)

    def encode(self, values: Column) -> Ragged:
        """(S,) or (S, C) texts to (N, 1) codes, or (N, 3): code, column, and whether another column has it too."""
        read = self.tokens(values)
        offsets, codes = torch.from_numpy(read.offsets), torch.from_numpy(read.codes)
        if len(self.columns) == 1:
            return Ragged(offsets, codes.unsqueeze(1))
        repeated = self._in_another_column(values, read)
        return Ragged(offsets, torch.stack([codes, torch.from_numpy(read.column), repeated], dim=1))

    def word(self, code: int) -> str:
        """The token."""
        return self.tokenizer.words[code]

    def tokens(self, values: Column) -> ReadTokens:
        """The tokens of each row in the order in which they are read."""
        parts = [self._column_tokens(texts) for texts in _by_column(values)]
        last = len(parts) - 1
        return _in_turn([part if c == last else _with_end(part) for c, part in enumerate(parts)])

    def _column_tokens(self, texts: list[str]) -> Tokens:
        return self.tokenizer.encode(texts, self.settings.max_length, self.settings.keep)

    def _in_another_column(self, values: Column, read: ReadTokens) -> Tensor:
        """(N,) 1 where the same token stands in another column of the row, whether the vocabulary has it or not."""
        columns = _by_column(values)
        found = np.zeros(len(read.codes), np.int64)
        for row, (first, after) in enumerate(itertools.pairwise(read.offsets.tolist())):
            said: dict[str, set[int]] = {}
            own = zip(read.column[first:after].tolist(), read.spans[first:after].tolist(), strict=True)
            words = [(self._form(columns[c][row][a:b]), c) for c, (a, b) in own]
            for word, c in words:
                said.setdefault(word, set()).add(c)
            found[first:after] = [len(said[word]) > 1 and word != "" for word, _ in words]
        return torch.from_numpy(found)

    def _form(self, word: str) -> str:
        """A token as it is compared."""
        form = word if self.settings.unicode == "none" else unicodedata.normalize(self.settings.unicode, word)
        return form.lower() if self.settings.lowercase else form

    def plain(self, values: Column) -> list[str]:
        """The texts as they stand, those of several columns joined by a line break."""
        return ["\n".join(texts) for texts in zip(*_by_column(values), strict=True)]

    def report(self, values: Column, ledger: Ledger) -> None:
        """Texts that are longer than what is read of them."""
        for column, texts in zip(self.columns, _by_column(values), strict=True):
            tokens = self._column_tokens(texts)
            rows = np.flatnonzero(tokens.shortened) + 1
            if len(rows):
                kept = {"start": "the first", "end": "the last", "both": "half from the start, half from the end"}
                message = (
                    f"column '{column}' has {len(rows)} texts of more than {self.settings.max_length} tokens, in "
                    f"{ledger.at_rows(rows)}; of each, {self.settings.max_length} are read: {kept[self.settings.keep]} "
                    f"(inputs.{self.name}.max_length and keep)."
                )
                ledger.add("note", "long-text", message, column=column, row=int(rows[0]), count=len(rows))

    def sample(self, steps: int) -> str:
        """So many signs that no vocabulary holds."""
        return " ".join(["\ufffd"] * steps)

    def forward(self, encoded: Tensor, scale: Scale | None) -> Tensor:
        """(B, T, 1) or (B, T, 3) to (B, T, features)."""
        codes = encoded[..., 0]
        if self.training and self.settings.unknown_rate:
            hidden = torch.rand(codes.shape, device=codes.device) < self.settings.unknown_rate
            codes = torch.where(hidden, torch.full_like(codes, UNKNOWN), codes)
        embedded: Tensor = self.embedding(codes)
        if self.column is None:
            return embedded
        embedded = embedded + self.column(encoded[..., 1])
        return torch.cat([embedded, encoded[..., 2:].to(embedded)], dim=-1)


def _by_column(values: Column) -> list[list[str]]:
    """The texts of each column; an absent one is empty."""
    table = values.reshape(len(values), -1)
    return [["" if text is None else text for text in column] for column in table.T.tolist()]


def _with_end(tokens: Tokens) -> Tokens:
    """An end mark behind each text."""
    after = tokens.offsets[1:]
    empty = np.diff(tokens.offsets) == 0
    last = np.where(empty, 0, tokens.spans[np.maximum(after - 1, 0), 1]) if len(tokens.spans) else 0 * after
    return replace(
        tokens,
        offsets=tokens.offsets + np.arange(len(tokens.offsets)),
        codes=np.insert(tokens.codes, after, END),
        spans=np.insert(tokens.spans, after, np.stack([last, last], axis=1), axis=0),
    )


def _in_turn(parts: list[Tokens]) -> ReadTokens:
    """The texts of each row one after the other."""
    lengths = np.stack([np.diff(part.offsets) for part in parts])
    rows = np.concatenate([np.repeat(np.arange(len(own)), own) for own in lengths])
    order = np.argsort(rows, kind="stable")
    column = np.repeat(np.arange(len(parts)), lengths.sum(axis=1))
    offsets = np.concatenate([[0], np.cumsum(lengths.sum(axis=0))]).astype(np.int64)
    codes, spans = np.concatenate([part.codes for part in parts]), np.concatenate([part.spans for part in parts])
    return ReadTokens(offsets, codes[order], column[order], spans[order])
