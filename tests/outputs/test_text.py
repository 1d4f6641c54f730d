"""The text output: what is told, what counts, what is written; and its score against the model's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from catalogue import BY_NAME, Built, build
from seqloom.batch import Batch, cut
from seqloom.data.ledger import Ledger
from seqloom.data.segments import Segments
from seqloom.errors import DataError, RecipeError
from seqloom.outputs.output import Places, Reading, Texts
from seqloom.outputs.text import Text, TextSettings, Written, _told
from seqloom.recipe import parse_recipe
from seqloom.search import greedy
from seqloom.sequences import Sequences
from seqloom.tokenizer import BEGIN, END, UNKNOWN

CASES = ("text-texts-text", "text-texts-both-ways", "text-examples-all-front", "text-examples-both-ways")


def fitted(*texts: str | None, **settings: Any) -> Text:
    output = Text("reply", TextSettings(kind="text", **{"tokens": "word", **settings}))
    output.fit(np.array(texts, object))
    return output


def read(case: str) -> tuple[Built, Text, Batch, Reading]:
    built = build(BY_NAME[case])
    batch = cut(built.encoded, built.places, built.model.inputs, built.model.outputs)
    (output,) = built.model.outputs.values()
    assert isinstance(output, Text)
    return built, output, batch, built.model.read(batch)[0]


def test_a_text_ends_with_its_mark_unless_it_is_cut_off_or_missing() -> None:
    output = fitted("a b", "b a b a", max_length=3)
    encoded = output.encode(np.array(["a b", "b a b a", None, "", "new a"], object))
    codes = {word: code for code, word in enumerate(output.tokenizer.words)}
    a, b = codes["a"], codes["b"]
    expected = [[a, b, END], [b, a, b], [], [END], [UNKNOWN, a, END]]
    for row, codes_of in enumerate(expected):
        assert encoded.rows(torch.tensor([row]), -1).values[0].tolist() == codes_of


def test_texts_that_are_cut_off_are_counted() -> None:
    ledger = Ledger()
    fitted("a b", max_length=3).report(np.array(["a", "a a a a", None], object), ledger)
    (entry,) = ledger.problems
    assert (entry.code, entry.row, entry.count) == ("long-text", 2, 1)
    assert "of more than 3 tokens" in entry.message


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_the_loss_is_that_of_each_token_after_the_right_ones(case: str) -> None:
    _, output, batch, reading = read(case)
    target = batch.targets["reply"]
    raw, total, count = output(reading), 0.0, 0
    logits = output.decoder.logits(raw)
    for row, codes in enumerate(target.tolist()):
        step, state, start = output.begin(reading)
        known = [code for code in codes if code >= 0]
        last = start
        for u, code in enumerate(known):
            found = output.decoder.logits(output.decoder(Sequences.full(last.unsqueeze(1)), state).features[:, 0])
            torch.testing.assert_close(found[row], logits[row, u])
            total -= float(torch.log_softmax(found[row], dim=-1)[code])
            count += 1
            state, last = step(last, state).state, torch.full_like(start, code)
    torch.testing.assert_close(float(output.loss(raw, target, None)), total / count)
    junk = torch.where((target >= 0).unsqueeze(2), raw, 1e3 * torch.randn_like(raw))
    assert output.loss(junk, target, None) == output.loss(raw, target, None), "nothing after the end counts"


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_a_written_text_has_the_models_own_score(case: str) -> None:
    built, output, batch, reading = read(case)
    answers = output.answer(reading, None)
    codes = {word: code for code, word in enumerate(output.tokenizer.words)}
    assert answers.shape == (len(batch.lengths), 1 + output.settings.n_best)
    for k in range(answers.shape[1]):
        written: list[Written] = answers[:, k].tolist()
        longest = max(len(text.tokens) for text in written)
        told = torch.full((len(written), longest), -1)
        for row, text in enumerate(written):
            told[row, : len(text.tokens)] = torch.tensor([codes[token] for token in text.tokens])
            assert text.tokens[-1] == "[end]"
            assert text.attention.shape[0] == len(text.tokens)
        features = output(built.model.read(batch._replace(targets={"reply": told}))[0])
        scores = torch.log_softmax(output.decoder.logits(features), dim=-1)
        scores = scores.gather(2, told.clamp(min=0).unsqueeze(2)).squeeze(2)
        own = torch.where(told >= 0, scores, 0).sum(dim=1)
        # Search computes in float32, which is what the model is used in.
        np.testing.assert_allclose([text.score for text in written], own.numpy(), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_first_answer_is_greedy_and_marks_are_never_written() -> None:
    _, output, _, reading = read("text-texts-text")
    step, state, start = output.begin(reading)
    found = greedy(step, state, start, end=END, max_length=output.settings.max_length)
    answers = output.answer(reading, None)
    assert [text.score for text in answers[:, 0]] == found.scores[:, 0].tolist()
    written = {token for row in answers.tolist() for text in row for token in text.tokens}
    assert not written & {output.tokenizer.words[UNKNOWN], output.tokenizer.words[BEGIN]}


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_a_model_with_a_beam_of_one_writes_greedily(case: str) -> None:
    _, output, _, reading = read(case)
    output.settings = output.settings.model_copy(update={"beam_size": 1, "n_best": 1})
    for plain, best in output.answer(reading, None).tolist():
        assert (plain.text, plain.tokens, plain.score) == (best.text, best.tokens, best.score)
        np.testing.assert_array_equal(plain.attention, best.attention)


@torch.no_grad()
@pytest.mark.parametrize(
    ("held", "most"), [({}, 5), ({"no_repeat": 1}, 1), ({"no_repeat": 2}, 4), ({"repetition_penalty": 1e6}, 1)]
)
@pytest.mark.parametrize("beam_size", [1, 3])
def test_what_may_not_be_said_again_is_not(held: dict[str, Any], most: int, beam_size: int) -> None:
    _, output, _, reading = read("text-examples-all-front")
    choice = {"max_length": 6, "beam_size": beam_size, "n_best": beam_size, "length_penalty": 3.0}
    output.settings = output.settings.model_copy(update=choice | held)
    output.decoder.bias[output.tokenizer.words.index("r")] = 9.0  # it would say nothing else
    for texts in output.answer(reading, None).tolist():
        for text in texts[:2]:  # the greedy one and the best one
            assert max(text.tokens.count(token) for token in text.tokens) <= most
        if not held:
            assert [text.tokens.count("r") for text in texts[:2]] == [5, 5]
        if beam_size == 1:
            assert texts[0].tokens == texts[1].tokens


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_a_row_writes_the_same_alone_and_among_others(case: str) -> None:
    built, output, batch, reading = read(case)
    together = output.answer(reading, None)
    for row in (0, 1, 5, 20):
        place = built.places.take(slice(row, row + 1))
        alone = output.answer(built.model.read(cut(built.encoded, place, built.model.inputs, {}))[0], None)
        length = int(batch.lengths[row])
        for own, among in zip(alone[0].tolist(), together[row].tolist(), strict=True):
            assert own.tokens == among.tokens
            np.testing.assert_allclose(own.score, among.score, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(own.attention[:, :length], among.attention[:, :length], atol=1e-5)
            assert not among.attention[:, length:].any(), "padding is never looked at"


@torch.no_grad()
def test_what_is_told_turns_into_the_models_own_words() -> None:
    built, output, _, reading = read("text-texts-both-ways")
    output.settings = output.settings.model_copy(update={"teacher_forcing_ratio": 0.0})
    right, begin = _told(reading.targets["reply"]), output.decoder.begin(reading.states, reading.final)
    told, own, half = (output._mixed(right, begin, progress).values for progress in (0.0, 1.0, 0.5))
    assert torch.equal(told, right.values), "at first all is told"
    assert torch.equal(own[:, 0], told[:, 0]), "the begin mark stays"
    expected = output.decoder.logits(output(reading)).argmax(dim=-1)
    assert torch.equal(own[:, 1:], expected[:, :-1])
    kept = (half == told)[:, 1:][told[:, 1:] != own[:, 1:]].double().mean()
    assert 0.2 < kept < 0.8
    built.model.train()
    torch.manual_seed(0)
    changed = output(reading._replace(progress=1.0))
    assert not torch.equal(changed, output(reading._replace(progress=0.0)))


def test_smoothing_belongs_to_training() -> None:
    _, output, batch, reading = read("text-texts-text")
    raw, target = output(reading), batch.targets["reply"]
    plain = output.eval().loss(raw, target, None)
    assert output.train().loss(raw, target, None) != plain


def test_a_batch_without_targets_has_no_loss_and_a_gradient_of_zeros() -> None:
    _, output, batch, reading = read("text-texts-text")
    raw = output(reading)
    loss = output.loss(raw, torch.full_like(batch.targets["reply"], -1), None)
    assert loss.item() == 0
    (gradient,) = torch.autograd.grad(loss, raw)
    assert not gradient.any()


def test_frame_and_score_name_each_text() -> None:
    built, output, _, reading = read("text-texts-text")
    frame = output.frame(output.answer(reading, None), built.dataset.segments, built.places)
    assert frame.columns == ["id", "y", "y_hat", "score", "y_hat-2", "score-2", "greedy"]
    assert (frame["score"] <= 0).all()
    found = output.score(frame, built.dataset.segments, built.dataset.ends)
    assert list(found.metrics) == ["BLEU", "chrF", "BLEU-greedy", "chrF-greedy"]


def test_rivals_copy_and_translate_word_by_word() -> None:
    output = fitted("x y", "y z")
    truth = np.array(["x y", "y z", "x z", None], object)
    segments = Segments(list("abcd"), np.zeros(5, np.int64), {}, {"reply": truth})
    places = Places(np.array([2, 3]), *(np.zeros(2, np.int64) for _ in range(3)))
    texts = Texts(["a b", "b c", "unpaired"], ["a c", "b new"])
    copied, translated = output.text_rivals(segments, places, np.array(["x y", "y z", None], object), texts)
    assert copied.frame is not None
    assert copied.frame.rows() == [("c", "x z", "a c"), ("d", None, "b new")]
    assert translated.frame is not None
    assert translated.frame["y_hat"].to_list() == ["x z", "y new"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"beam_size": 0}, r"outputs\.reply\.beam_size: got 0; input should be greater than or equal to 1"),
        ({"no_repeat": 0}, r"outputs\.reply\.no_repeat: got 0; input should be greater than or equal to 1"),
        ({"repetition_penalty": 0.9}, r"outputs\.reply\.repetition_penalty: got 0\.9"),
        ({"n_best": 9}, "n_best is 9; expected at most beam_size, 5: widen the beam"),
        ({"heads": 2}, "heads is 2, but attention is additive; set attention: multi_head"),
        ({"teacher_forcing_ratio": 1.5}, r"outputs\.reply\.teacher_forcing_ratio: got 1\.5"),
    ],
)
def test_wrong_settings_are_named(entry: dict[str, Any], message: str) -> None:
    inputs = {"review": {"kind": "text"}}
    with pytest.raises(RecipeError, match=message):
        parse_recipe({"inputs": inputs, "outputs": {"reply": {"kind": "text", **entry}}})


def test_a_training_part_without_texts_is_refused() -> None:
    with pytest.raises(DataError, match="output 'reply': the training part has no text at all"):
        fitted(None, "")
