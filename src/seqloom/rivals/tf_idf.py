"""TF-IDF and logistic regression: which words a text has, whatever their order.

The rival that any model of texts has to beat: words and pairs of neighbouring words, weighted by
(1 + ln count) · ln((1 + n) / (1 + documents)) + 1, each text scaled to length one, and a linear map of
them, both by scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seqloom.rivals.rival import Floats

WORD = r"(?u)\w+|[^\w\s]"
STRENGTH = 4.0  # inverse of the regularisation, C in scikit-learn


class TfIdf:
    """Linear classes of texts; `note` says exactly what it is."""

    note = f"TF-IDF of words and pairs of words, then logistic regression with C = {STRENGTH:g}; by scikit-learn"

    def why_not(self, texts: Sequence[str], y: Sequence[str | None]) -> str | None:
        """None where it can learn, else the reason why not."""
        if len({label for label in y if label is not None}) < 2:
            return "the training part has fewer than two labels"
        if not any(text.strip() for text in texts):
            return "the training part has no words"
        return None

    def probabilities(
        self, texts: Sequence[str], y: Sequence[str | None], asked: Sequence[str], *, labels: Sequence[str]
    ) -> Floats:
        """(len(asked), K) probabilities of the labels, learned from texts whose label `y` is known."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        known = [(text, label) for text, label in zip(texts, y, strict=True) if label is not None]
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD, dtype=np.float32)
        features = words.fit_transform([text for text, _ in known])
        regression = LogisticRegression(C=STRENGTH, max_iter=1000).fit(features, [label for _, label in known])
        found = regression.predict_proba(words.transform(asked))
        columns = {label: found[:, k] for k, label in enumerate(regression.classes_)}
        none = np.zeros(len(asked))
        return np.stack([columns.get(label, none) for label in labels], axis=1).astype(np.float64)
