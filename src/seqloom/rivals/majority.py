"""Majority: how often each label occurred in training, said of every example or step.

The likeliest answer is the most frequent label, and its log-loss is the entropy of the labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from seqloom.errors import DataError
from seqloom.rivals.rival import Floats


class Majority:
    """Class frequencies as probabilities; the first of equally frequent labels wins."""

    def probabilities(self, y: Sequence[str | None], *, labels: Sequence[str], count: int) -> Floats:
        """(count, K) copies of the label frequencies in `y`; missing and unknown labels do not count.

        Raises:
            DataError: `y` holds none of the labels.
        """
        times = Counter(y)
        frequencies = np.array([times[label] for label in labels], dtype=np.float64)
        if not frequencies.sum():
            raise DataError(
                f"the majority rival found none of {len(labels)} labels among {len(y)} training answers; "
                "expected at least one. Check that the training part has labels."
            )
        return np.tile(frequencies / frequencies.sum(), (count, 1))
