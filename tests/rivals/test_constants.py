import numpy as np
import pytest

from seqloom.errors import DataError
from seqloom.rivals.constant import CONSTANTS, Constant
from seqloom.rivals.majority import Majority


def test_majority_says_the_frequencies_of_the_labels() -> None:
    got = Majority().probabilities(["b", "a", "b", None, "b", "elsewhere"], labels=["a", "b", "c"], count=2)
    np.testing.assert_allclose(got, [[0.25, 0.75, 0.0]] * 2)


def test_majority_needs_a_label() -> None:
    with pytest.raises(DataError, match="none of 1 labels among 2 training answers"):
        Majority().probabilities([None, "b"], labels=["a"], count=2)


def test_mean_and_median_skip_missing_targets() -> None:
    y = np.array([1.0, np.nan, 2.0, 9.0])
    mean, median = CONSTANTS
    np.testing.assert_array_equal(mean.predict(y, count=2), [4.0, 4.0])
    np.testing.assert_array_equal(median.predict(y, count=3), [2.0, 2.0, 2.0])


@pytest.mark.parametrize("rival", CONSTANTS, ids=lambda rival: rival.name)
def test_number_rivals_need_a_target(rival: Constant) -> None:
    with pytest.raises(DataError, match=f"the {rival.name} rival found no finite number among 1"):
        rival.predict(np.array([np.nan]), count=1)
