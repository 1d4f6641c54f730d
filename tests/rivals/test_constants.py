import numpy as np
import pytest

from seqloom.errors import DataError
from seqloom.rivals import CATEGORY_RIVALS, FORECAST_RIVALS, NUMBER_RIVALS


def test_majority_says_the_frequencies_of_the_labels() -> None:
    got = CATEGORY_RIVALS["majority"].probabilities(
        ["b", "a", "b", None, "b", "elsewhere"], labels=["a", "b", "c"], count=2
    )
    np.testing.assert_allclose(got, [[0.25, 0.75, 0.0]] * 2)


def test_majority_needs_a_label() -> None:
    with pytest.raises(DataError, match="none of 1 labels among 2 training answers"):
        CATEGORY_RIVALS["majority"].probabilities([None, "b"], labels=["a"], count=2)


def test_mean_and_median_skip_missing_targets() -> None:
    y = np.array([1.0, np.nan, 2.0, 9.0])
    np.testing.assert_array_equal(NUMBER_RIVALS["mean"].predict(y, count=2), [4.0, 4.0])
    np.testing.assert_array_equal(NUMBER_RIVALS["median"].predict(y, count=3), [2.0, 2.0, 2.0])


@pytest.mark.parametrize("name", NUMBER_RIVALS)
def test_number_rivals_need_a_target(name: str) -> None:
    with pytest.raises(DataError, match=f"the {name} rival found no finite number among 1"):
        NUMBER_RIVALS[name].predict(np.array([np.nan]), count=1)


def test_every_rival_says_whether_it_can_run() -> None:
    rivals = [*FORECAST_RIVALS.values(), *CATEGORY_RIVALS.values(), *NUMBER_RIVALS.values()]
    assert all(rival.available() is None or "install" in str(rival.available()) for rival in rivals)
