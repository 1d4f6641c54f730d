import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss

from seqloom.errors import DataError
from seqloom.metrics import score_category, score_labels
from seqloom.metrics.classes import gather, surprise
from seqloom.metrics.groups import Groups

LABELS = ["cat", "dog", "owl"]


def drawn(count: int = 300) -> tuple[list[str], list[str], np.ndarray]:
    random = np.random.default_rng(2)
    probabilities = random.dirichlet([1.0, 2.0, 0.5], count)
    y = [LABELS[random.choice(3, p=row)] for row in probabilities]
    return y, [LABELS[row.argmax()] for row in probabilities], probabilities


def test_agreement_with_scikit_learn() -> None:
    y, y_hat, probabilities = drawn()
    metrics = score_category(y, y_hat, labels=LABELS, probabilities=probabilities).metrics
    assert metrics["accuracy"].value == pytest.approx(100 * accuracy_score(y, y_hat))
    assert metrics["macro-F1"].value == pytest.approx(100 * f1_score(y, y_hat, average="macro"))
    assert metrics["log-loss"].value == pytest.approx(log_loss(y, probabilities, labels=LABELS))


def test_intervals_agree_with_resampling_by_scikit_learn() -> None:
    y, y_hat, _ = drawn()
    truth, guess = np.array(y), np.array(y_hat)
    draws = np.random.default_rng(9).integers(0, len(y), (300, len(y)))
    scores = [100 * f1_score(truth[draw], guess[draw], average="macro") for draw in draws]
    f1 = score_category(y, y_hat, labels=LABELS).metrics["macro-F1"]
    assert [f1.lo, f1.hi] == pytest.approx(np.quantile(scores, [0.025, 0.975]), abs=1.0)


def test_confusion_rows_are_truth() -> None:
    result = score_category(["cat", "cat", "owl"], ["cat", "dog", "dog"], labels=LABELS)
    assert result.confusion == {"labels": LABELS, "counts": [[1, 1, 0], [0, 0, 0], [0, 1, 0]]}


def test_labels_that_never_occur_do_not_pull_macro_f1_down() -> None:
    result = score_category(["cat", "dog"], ["cat", "dog"], labels=LABELS)
    assert result.metrics["macro-F1"].value == pytest.approx(100.0)


def test_unknown_truth_is_left_out() -> None:
    probabilities = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])
    result = score_category(["cat", None], ["cat", "dog"], labels=LABELS, probabilities=probabilities)
    assert result.windows == 1
    assert result.metrics["log-loss"].value == pytest.approx(np.log(2))
    assert result.metrics["accuracy"].lo is None


def test_a_true_label_the_model_does_not_know_counts_as_a_miss() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.8, 0.1, 0.1]])
    result = score_category(["cat", "eel"], ["cat", "cat"], labels=LABELS, probabilities=probabilities)
    assert result.metrics["accuracy"].value == pytest.approx(50.0)
    surprised = (-np.log(0.8) - np.log(np.finfo(float).eps)) / 2
    assert result.metrics["log-loss"].value == pytest.approx(surprised)
    assert result.confusion is not None
    assert result.confusion["labels"] == [*LABELS, "eel"]


def test_errors_name_the_sizes() -> None:
    with pytest.raises(DataError, match="2 true labels but 1 predictions"):
        score_category(["cat", "cat"], ["cat"], labels=LABELS)
    with pytest.raises(DataError, match="0 of 1 examples have a label"):
        score_category([None], ["cat"], labels=LABELS)
    with pytest.raises(DataError, match=r"shape \(1, 2\); expected \(examples, labels\) = \(1, 3\)"):
        score_category(["cat"], ["cat"], labels=LABELS, probabilities=np.ones((1, 2)))
    with pytest.raises(DataError, match="needs probabilities: got none"):
        surprise(gather(["cat"], ["cat"], LABELS), Groups.single(1))


def test_labels_count_valid_steps_only() -> None:
    y = ["a", None, "b", "b", "a"]
    y_hat = ["a", "b", "b", "a", "a"]
    result = score_labels(y, y_hat, sequence=[0, 0, 0, 1, 1], labels=["a", "b"])
    assert result.metrics["accuracy"].value == pytest.approx(75.0)
    known, guessed = ["a", "b", "b", "a"], ["a", "b", "a", "a"]
    assert result.metrics["macro-F1"].value == pytest.approx(100 * f1_score(known, guessed, average="macro"))
    assert result.windows == 2


def test_labels_are_resampled_by_whole_sequences() -> None:
    y = ["a"] * 100
    right_then_wrong = ["a"] * 50 + ["b"] * 50
    accuracy = score_labels(y, right_then_wrong, sequence=[0] * 50 + [1] * 50, labels=["a", "b"]).metrics
    assert (accuracy["accuracy"].lo, accuracy["accuracy"].hi) == (0.0, 100.0)


def test_labels_errors() -> None:
    with pytest.raises(DataError, match="1 true labels, 2 predictions and 1 sequence names"):
        score_labels(["a"], ["a", "b"], sequence=[0], labels=["a"])
    with pytest.raises(DataError, match="0 of 1 steps have a label"):
        score_labels([None], ["a"], sequence=[0], labels=["a"])


def test_calibration_error_by_hand() -> None:
    """Nine sure of 0.9 of which six are right, and one sure of 0.6 that is wrong."""
    sure = np.array([[0.9, 0.1]] * 9 + [[0.6, 0.4]])
    y = ["cat"] * 6 + ["dog"] * 4
    found = score_category(y, ["cat"] * 10, labels=LABELS[:2], probabilities=sure).metrics["calibration-error"]
    assert found.value == pytest.approx(100 * (9 / 10 * abs(6 / 9 - 0.9) + 1 / 10 * 0.6))
    assert found.better == "lower"


def test_probabilities_that_are_frequencies_are_calibrated() -> None:
    random = np.random.default_rng(3)
    probabilities = random.dirichlet([1.0, 1.0], 20_000)
    y = np.where(random.random(20_000) < probabilities[:, 0], "cat", "dog").tolist()
    guess = np.where(probabilities[:, 0] > 0.5, "cat", "dog").tolist()
    honest = score_category(y, guess, labels=LABELS[:2], probabilities=probabilities).metrics
    boasting = score_category(y, guess, labels=LABELS[:2], probabilities=(probabilities > 0.5) * 1.0).metrics
    assert honest["calibration-error"].value < 2
    assert boasting["calibration-error"].value == pytest.approx(25, abs=1.5)
