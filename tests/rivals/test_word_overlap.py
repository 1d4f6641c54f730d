"""The rival that looks for the sentence which repeats the question."""

from __future__ import annotations

from seqloom.rivals.word_overlap import WordOverlap, first_sentence

TEXT = "Ann lives in Rome. Bob was born in the small town of Ulm. He likes tea."


def answer(text: str, question: str) -> str:
    start, end = WordOverlap([TEXT, "in a town in a town", "likes"]).answer(text, question)
    return text[start:end]


def test_the_longest_new_run_of_the_best_sentence() -> None:
    assert answer(TEXT, "Where was Bob born?") == "in the small town of Ulm"
    assert answer(TEXT, "What likes he?") == "tea"


def test_common_words_count_less() -> None:
    assert answer("It is in a town. Zug is small.", "in Zug?") == "is small"
    assert answer("It is in a town. Zug is small.", "in a town?") == "It is"


def test_texts_without_words() -> None:
    assert answer("", "Who?") == ""
    assert first_sentence("") == (0, 0)
    assert first_sentence(TEXT) == (0, 18)
