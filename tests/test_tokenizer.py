"""The tokenizer: what a token is, where it stands, and that nothing a text spells can become a mark."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqloom.tokenizer import BEGIN, END, MARKS, UNKNOWN, Tokenizer, TokenizerSettings

TEXTS = ["The cat's café — naïve, don't!", "the the cat\nsat", "ﬁne"]


def fitted(**settings: Any) -> Tokenizer:
    return Tokenizer.fit(TEXTS, TokenizerSettings(**settings))


def tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    """The parts of a text that its tokens stand for."""
    return [text[a:b] for a, b in tokenizer.encode([text]).spans]


def test_words_keep_their_apostrophes_and_signs_stand_alone() -> None:
    tokenizer = fitted()
    assert tokens(tokenizer, "The cat's: CAFÉ!  don't") == ["The", "cat's", ":", "CAFÉ", "!", "don't"]
    assert tokenizer.words[:4] == [*MARKS, "the"], "the most frequent word comes first"
    codes = tokenizer.encode(["The cat's: CAFÉ!  don't"]).codes
    assert [tokenizer.words[code] for code in codes] == ["the", "cat's", "[unknown]", "café", "!", "don't"]


def test_characters_are_all_kept() -> None:
    tokenizer = fitted(tokens="character")
    assert tokens(tokenizer, "a\n ç") == ["a", "\n", " ", "ç"]
    assert tokenizer.encode(["a\n ç"]).codes.tolist()[-1] == UNKNOWN
    assert tokenizer.decode(tokenizer.encode(["the cat"]).codes.tolist()) == "the cat"


def test_subwords_are_learned_and_read_back() -> None:
    tokenizer = fitted(tokens="subword", vocabulary=40)
    found = tokenizer.encode(["the sat the"])
    assert "▁the" in tokenizer.words
    assert len(found.codes) < len("the sat the")
    assert tokenizer.decode(found.codes.tolist()) == "the sat the"
    assert len(tokenizer) == len(tokenizer.words) <= 40


def test_unicode_forms_are_as_stated() -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    for form, same in (("NFC", True), ("none", False)):
        codes = fitted(unicode=form).encode([composed, apart]).codes
        assert (len(codes) == 2 and codes[0] == codes[1]) == same
    nfkc, nfc = (fitted(unicode=form).encode(["fine"]).codes[0] for form in ("NFKC", "NFC"))
    assert nfkc != UNKNOWN
    assert nfc == UNKNOWN
    assert tokens(fitted(), f"a {apart} b") == ["a", apart, "b"]


def test_case_is_told_apart_where_it_is_asked_for() -> None:
    assert fitted().encode(["THE"]).codes[0] == fitted().encode(["the"]).codes[0] != UNKNOWN
    assert fitted(lowercase=False).encode(["THE"]).codes[0] == UNKNOWN


def test_rare_tokens_are_left_out() -> None:
    assert fitted(min_count=2).words == [*MARKS, "the"]
    assert len(fitted(vocabulary=5)) == 5


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("kind", ["word", "character", "subword"])
def test_no_text_can_spell_a_mark(mark: str, kind: str) -> None:
    tokenizer = Tokenizer.from_json(fitted(tokens=kind).to_json())
    found = tokenizer.encode([f"the{mark}the {mark}"]).codes.tolist()
    assert not {END, BEGIN} & set(found)


@pytest.mark.parametrize("kind", ["word", "character", "subword"])
def test_equal_texts_give_equal_tokenizers_and_json_brings_them_back(kind: str) -> None:
    one, other = fitted(tokens=kind), fitted(tokens=kind)
    assert one.to_json() == other.to_json()
    back = Tokenizer.from_json(one.to_json())
    for part in ("offsets", "codes", "spans"):
        assert np.array_equal(getattr(back.encode(TEXTS), part), getattr(one.encode(TEXTS), part))


def test_what_is_no_tokenizer_is_refused() -> None:
    with pytest.raises(ValueError, match="the tokenizer cannot be restored"):
        Tokenizer.from_json('{"model": 3}')


@given(st.text(max_size=30), st.sampled_from(["word", "character", "subword"]))
def test_spans_are_those_of_the_text_as_given(text: str, kind: str) -> None:
    found = fitted(tokens=kind).encode([text])
    assert (found.spans[1:, 0] >= found.spans[:-1, 0]).all()
    assert (found.spans[:, 1] <= len(text)).all()
    for (a, b), (first, after) in zip(found.spans, found.byte_spans([text]), strict=True):
        assert text.encode()[first:after].decode() == text[a:b]


@pytest.mark.parametrize(("keep", "expected"), [("start", "a b c d e"), ("end", "v w x y z"), ("both", "a b c y z")])
def test_long_texts_are_bounded_from_the_side_that_is_asked_for(keep: Any, expected: str) -> None:
    letters = "a b c d e f g h i j k l m n o p q r s t u v w x y z"
    # The filler makes the text longer than what is looked at.
    for text in (letters, letters.replace("m", "m " * 9999)):
        found = fitted().encode([text, "a b"], max_length=5, keep=keep)
        assert " ".join(text[a:b] for a, b in found.spans[:5]) == expected
        assert found.shortened.tolist() == [True, False]
        assert found.offsets.tolist() == [0, 5, 7]


def test_nothing_is_left_out_without_a_bound() -> None:
    found = fitted().encode(["a " * 3000])
    assert len(found.codes) == 3000
    assert not found.shortened.any()
    empty = fitted().encode([])
    assert (empty.offsets.tolist(), empty.spans.shape) == ([0], (0, 2))


def test_of_a_very_long_text_only_what_is_read_is_learned_from() -> None:
    text = "first " + "x" * 1_000_000 + " last"
    learned = Tokenizer.fit([text], TokenizerSettings(tokens="word"), 10, "start").words
    assert "first" in learned
    assert "last" not in learned
    assert max(map(len, learned)) < 1000, "it is the beginning of the text that was cut"
    assert "last" in Tokenizer.fit([text], TokenizerSettings(tokens="word"), 10, "both").words
