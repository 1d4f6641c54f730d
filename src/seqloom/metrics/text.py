"""Metrics of texts that were written: BLEU and chrF as sacreBLEU defines them, each with its signature."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from seqloom.errors import DataError
from seqloom.metrics.groups import Floats, Groups
from seqloom.metrics.receipt import Metric
from seqloom.metrics.result import Result, Value, overall

Tokens = Literal["13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none"]


class Texts(NamedTuple):
    """N texts that were written, and what they should have been."""

    y: Sequence[str]
    y_hat: Sequence[str]


def score_texts(
    y: Sequence[str | None], y_hat: Sequence[str], greedy: Sequence[str] | None = None, *, tokens: Tokens = "13a"
) -> Result:
    """BLEU and chrF of all texts together, with intervals over texts.

    Args:
        y: N right texts, None where unknown; those are left out.
        y_hat: N texts that were written.
        greedy: N texts that the same model wrote by greedy search, to be scored beside them.
        tokens: how BLEU splits texts, as sacreBLEU names it; `none` for texts whose tokens stand between spaces.

    Raises:
        DataError: lengths differ, or no right text is known.
    """
    if len(y) != len(y_hat) or (greedy is not None and len(greedy) != len(y)):
        raise DataError(f"got {len(y_hat)} texts for {len(y)} right ones; expected one for each")
    known = [(k, right) for k, right in enumerate(y) if right is not None]
    if not known:
        raise DataError("no right text is known; expected the target column to hold texts in the rows to be scored")
    groups = Groups.single(len(known))
    values: dict[str, Value] = {}
    for suffix, written in {"": y_hat, "-greedy": greedy}.items():
        if written is not None:
            rows = Texts([right for _, right in known], [written[k] for k, _ in known])
            values |= overall(text_metrics(tokens, suffix), rows, groups)
    return Result(values, len(known))


def text_metrics(tokens: Tokens = "13a", suffix: str = "") -> list[Metric[Texts]]:
    """BLEU (Papineni et al., 2002) and chrF (Popović, 2015), in percent."""
    found = []
    for name in ("BLEU", "chrF"):
        definition = f"{name} of all texts together as sacreBLEU computes it; signature {_signature(name, tokens)}"
        sums, finish = partial(_statistics, name, tokens), partial(_score, name, tokens)
        found.append(Metric(f"{name}{suffix}", "%", "higher", definition, sums, finish))
    return found


def bleu(y: Sequence[str], y_hat: Sequence[str], *, tokens: Tokens = "13a") -> float:
    """BLEU of all texts together, without interval, to watch while training."""
    sums = _statistics("BLEU", tokens, Texts(y, y_hat), Groups.whole(len(y)))
    return float(_score("BLEU", tokens, sums)[0])


def sentence_chrf(y: Sequence[str], y_hat: Sequence[str]) -> list[float]:
    """chrF of each text by itself, in percent: to find those that went wrong, never to be averaged."""
    scorer = _scorer("chrF", "13a")
    return [float(scorer.sentence_score(written, [right]).score) for right, written in zip(y, y_hat, strict=True)]


def _statistics(name: str, tokens: Tokens, rows: Texts, groups: Groups) -> Floats:
    """What sacreBLEU counts in each text (matches, totals, lengths), summed over groups."""
    counted = _scorer(name, tokens)._extract_corpus_statistics(list(rows.y_hat), [list(rows.y)])
    return groups.sums(*np.asarray(counted, np.float64).T)


def _score(name: str, tokens: Tokens, sums: Floats) -> Floats:
    """Its value for sums of counts (..., k), NaN where they are."""
    scorer = _scorer(name, tokens)
    found = [
        scorer._compute_score_from_stats([round(count) for count in counts]).score
        if np.isfinite(counts).all()
        else np.nan
        for counts in sums.reshape(-1, sums.shape[-1])
    ]
    return np.array(found, np.float64).reshape(sums.shape[:-1])


def _signature(name: str, tokens: Tokens) -> str:
    """The signature, for one right text."""
    scorer = _scorer(name, tokens)
    scorer.corpus_score(["a"], [["a"]])  # it knows how many right texts there are only from then on
    return str(scorer.get_signature())


def _scorer(name: str, tokens: Tokens) -> Any:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    return BLEU(tokenize=tokens, force=True) if name == "BLEU" else CHRF()
