"""`Tokenizer`: texts to tokens and back. Words, characters or subwords, learned from the training part.

The work is done by Hugging Face's `tokenizers`, whose own JSON is what an artefact keeps.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from seqloom.settings import Settings

if TYPE_CHECKING:
    import tokenizers

Integers = npt.NDArray[np.int64]
Keep = Literal["start", "end", "both"]

UNKNOWN, END, BEGIN = 0, 1, 2  # codes of the marks, which no text can spell
MARKS = ("[unknown]", "[end]", "[begin]")
WORD = r"\w+(?:['’]\w+)*|[^\w\s]"
AT_ONCE = 1024  # texts handed to the library together
READ_AHEAD = 64  # characters looked at for each token that is kept, so that no line is too long to be read


class TokenizerSettings(Settings):
    """How texts are cut into tokens."""

    tokens: Literal["word", "character", "subword"] = Field(
        "word",
        description="word: runs of letters and digits, and single signs; character: each one, spaces too; "
        "subword: pieces of words joined by byte-pair encoding",
    )
    unicode: Literal["NFC", "NFKC", "none"] = Field(
        "NFC", description="Unicode normalisation: NFC: é is one character; NFKC: also ﬁ is fi; none: as it stands"
    )
    lowercase: bool = Field(True, description="capital letters are read as small ones")
    vocabulary: int = Field(20000, ge=4, description="tokens that are told apart at most, the most frequent ones")
    min_count: int = Field(1, ge=1, description="occurrences in the training part that a token needs")


@dataclass(frozen=True)
class Tokens:
    """The tokens of S texts, end to end.

    Attributes:
        offsets: (S + 1,) first token of each text, then N.
        codes: (N,) numbers in the vocabulary.
        spans: (N, 2) first character of each token in its text as given, and the one after its last.
        shortened: (S,) bool, whether tokens of the text were left out.
    """

    offsets: Integers
    codes: Integers
    spans: Integers
    shortened: npt.NDArray[np.bool_]

    def byte_spans(self, texts: Sequence[str]) -> Integers:
        """`spans` as byte offsets into the UTF-8 form of the same texts."""
        found = np.zeros_like(self.spans)
        for s, text in enumerate(texts):
            own = slice(self.offsets[s], self.offsets[s + 1])
            sizes = np.array([len(character.encode()) for character in text], np.int64)
            found[own] = np.concatenate([[0], np.cumsum(sizes)])[self.spans[own]]
        return found


class Tokenizer:
    """Cuts texts into tokens with a fixed vocabulary; equal settings and texts give an equal tokenizer.

    Code 0 stands for every token that is not in the vocabulary, 1 ends a text, 2 begins one. What a text spells
    is never taken for a mark.
    """

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        self._inner = inner
        self._inner.encode_special_tokens = True

    @classmethod
    def fit(
        cls,
        texts: Iterable[str],
        settings: TokenizerSettings,
        max_length: int | None = None,
        keep: Keep = "start",
    ) -> Tokenizer:
        """Learn the vocabulary.

        Args:
            texts: whole texts.
            settings: what a token is.
            max_length: tokens of each text that will be read; of longer texts only the part in which they stand is
                looked at, so that no text is too long to learn from.
            keep: where they stand.
        """
        from tokenizers import trainers

        inner = _untrained(settings)
        kind = trainers.BpeTrainer if settings.tokens == "subword" else trainers.WordLevelTrainer
        trainer = kind(
            vocab_size=settings.vocabulary,
            min_frequency=settings.min_count,
            special_tokens=list(MARKS),
            show_progress=False,
        )
        inner.train_from_iterator((_within_reach(text, max_length, keep).text for text in texts), trainer)
        return cls(inner)

    @classmethod
    def from_json(cls, text: str) -> Tokenizer:
        """Take back what `to_json` gave.

        Raises:
            ValueError: it is not the description of a tokenizer.
        """
        from tokenizers import Tokenizer as Inner

        try:
            return cls(Inner.from_str(text))
        except Exception as error:  # the library raises plain Exception
            raise ValueError(f"the tokenizer cannot be restored: {error}") from None

    def to_json(self) -> str:
        """Everything that was learned."""
        text: str = self._inner.to_str()
        return text

    def __len__(self) -> int:
        """Codes in use, the marks included."""
        size: int = self._inner.get_vocab_size()
        return size

    @property
    def words(self) -> list[str]:
        """The tokens in the order of their codes."""
        vocabulary: dict[str, int] = self._inner.get_vocab()
        return sorted(vocabulary, key=vocabulary.__getitem__)

    def encode(self, texts: Sequence[str], max_length: int | None = None, keep: Keep = "start") -> Tokens:
        """The tokens of each text.

        Args:
            texts: whole texts.
            max_length: tokens of each text that are kept at most; None keeps all.
            keep: which ones: from the start, before the end, or half of them from both ends.
        """
        codes, spans, shortened = [np.zeros(0, np.int64)], [np.zeros((0, 2), np.int64)], np.zeros(len(texts), bool)
        lengths = np.zeros(len(texts), np.int64)
        for first in range(0, len(texts), AT_ONCE):
            pieces = [_within_reach(text, max_length, keep) for text in texts[first : first + AT_ONCE]]
            found = self._inner.encode_batch([piece.text for piece in pieces], add_special_tokens=False)
            for s, (encoding, piece) in enumerate(zip(found, pieces, strict=True), start=first):
                places = _with_marks(piece.text, np.array(encoding.offsets, np.int64).reshape(-1, 2))
                kept = _kept(len(places), max_length, keep)
                codes.append(np.array(encoding.ids, np.int64)[kept])
                spans.append((places + piece.shift * (places[:, :1] > piece.edge))[kept])
                lengths[s], shortened[s] = len(kept), len(kept) < len(places) or piece.shift > 0
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Tokens(offsets, np.concatenate(codes), np.concatenate(spans), shortened)

    def decode(self, codes: Sequence[int]) -> str:
        """The text of some tokens, marks left out; what normalisation changed stays changed."""
        text: str = self._inner.decode(list(codes), skip_special_tokens=True)
        return text


class _Piece(NamedTuple):
    """What is read of a text: all of it, or the parts before and after a gap of `shift` characters at `edge`."""

    text: str
    edge: int
    shift: int


def _within_reach(text: str, max_length: int | None, keep: Keep) -> _Piece:
    """The part of a text in which the tokens to be kept are looked for."""
    reach = READ_AHEAD * (max_length or 0)
    if max_length is None or len(text) <= 2 * reach:
        return _Piece(text, len(text), 0)
    head = "" if keep == "end" else text[:reach]
    tail = "" if keep == "start" else text[len(text) - reach :]
    return _Piece(f"{head} {tail}", len(head), len(text) - len(head) - 1 - len(tail))


def _with_marks(text: str, spans: Integers) -> Integers:
    """Spans that reach over combining marks, which the library leaves out where it composes characters."""
    if unicodedata.is_normalized("NFC", text):
        return spans
    ends = []
    for (_, end), limit in zip(spans.tolist(), [*spans[1:, 0].tolist(), len(text)], strict=True):
        while end < limit and unicodedata.combining(text[end]):
            end += 1
        ends.append(end)
    return np.stack([spans[:, 0], np.array(ends, np.int64)], axis=1)


def _kept(count: int, max_length: int | None, keep: Keep) -> Integers:
    """Which of `count` tokens are kept."""
    every = np.arange(count)
    if max_length is None or count <= max_length:
        return every
    head = {"start": max_length, "end": 0, "both": (max_length + 1) // 2}[keep]
    return np.concatenate([every[:head], every[count - (max_length - head) :]])


def _untrained(settings: TokenizerSettings) -> tokenizers.Tokenizer:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    mark = MARKS[UNKNOWN]
    subword = settings.tokens == "subword"
    inner = Tokenizer(models.BPE(unk_token=mark) if subword else models.WordLevel(unk_token=mark))
    steps: list[normalizers.Normalizer] = []
    if settings.unicode != "none":
        steps.append(normalizers.NFC() if settings.unicode == "NFC" else normalizers.NFKC())
    if settings.lowercase:
        steps.append(normalizers.Lowercase())
    inner.normalizer = normalizers.Sequence(steps)
    if settings.tokens == "word":
        inner.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "removed", invert=True)
    elif settings.tokens == "character":
        inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        inner.decoder = decoders.Fuse()
    else:
        inner.pre_tokenizer = pre_tokenizers.Metaspace()
        inner.decoder = decoders.Metaspace()
    return inner
