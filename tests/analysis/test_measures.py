import math

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score

from apcnn_mm.analysis.answers import Answers, Evaluation
from apcnn_mm.analysis.measures import (
    Share,
    compare_stages,
    count_confusions,
    measure_acceptance,
    measure_classes,
    measure_reliability,
    measure_risk,
    worst_pairs,
)
from apcnn_mm.evaluation.calibration import expected_calibration_error


@pytest.mark.parametrize(('hits', 'n'), [(0, 5), (5, 5), (45, 50), (395, 518)])
def test_interval_of_wilson(hits, n):
    """His formula."""
    z, p = 1.959963984540054, hits / n
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    share = Share(hits, n)
    assert share.value == p
    np.testing.assert_allclose(share.interval, [center - half, center + half], atol=1e-12)


def test_classes_are_those_of_scikit_learn():
    """With a class that has no pictures, but answers, and one that is never answered."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 200)
    answers = np.where(rng.random(200) < 0.6, labels, rng.integers(0, 7, 200))
    answers[answers == 5] = 6
    measures = measure_classes(labels, answers, 8)
    with pytest.warns(UserWarning, match='y_pred contains classes not in y_true'):
        expected = balanced_accuracy_score(labels, answers)
    assert measures.balanced_accuracy == pytest.approx(expected)
    expected = f1_score(labels, answers, labels=range(6), average='macro')
    assert measures.macro_f1 == pytest.approx(expected)
    assert measures.f1[5] == measures.recall[5] == 0 and np.isnan(measures.precision[5])
    assert measures.n[6] == measures.precision[6] == 0 and np.isnan(measures.recall[6])
    assert np.isnan(measures.f1[7])


def test_worst_pairs():
    """Both directions count; of equal ones, the larger share is worse."""
    confusions = np.array([[20, 1, 2, 0], [3, 9, 0, 0], [0, 0, 5, 2], [0, 0, 0, 8]])
    assert worst_pairs(confusions) == [(1, 0), (2, 3), (0, 2)]
    assert worst_pairs(confusions, most=1) == [(1, 0)]
    assert worst_pairs(np.diag([1, 2])) == []


def test_confusions():
    confusions = count_confusions(np.array([0, 0, 1]), np.array([0, 2, 2]), 3)
    assert confusions.tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 0]]


def test_reliability():
    """Bins are closed on the right; empty ones have no accuracy."""
    confidence = np.array([0.5, 0.2, 0.9, 1.0, 0.6])
    correct = np.array([True, False, True, True, False])
    reliability = measure_reliability(confidence, correct, bins=2)
    assert reliability.n.tolist() == [2, 3]
    np.testing.assert_allclose(reliability.confidence, [0.35, 2.5 / 3])
    np.testing.assert_allclose(reliability.accuracy, [0.5, 2 / 3])
    assert reliability.error == pytest.approx(0.4 * 0.15 + 0.6 * 0.5 / 3)
    sure = measure_reliability(np.ones(4), np.array([True] * 3 + [False]))
    assert sure.error == pytest.approx(0.25)
    assert np.isnan(sure.accuracy[:-1]).all() and sure.n.sum() == 4


def test_calibrated_answers_have_no_error():
    rng = np.random.default_rng(0)
    confidence = rng.random(200000)
    assert measure_reliability(confidence, rng.random(200000) < confidence).error < 0.01


def test_error_is_that_of_the_metric():
    """Calibration reports it in validation and test."""
    rng = np.random.default_rng(0)
    confidence = np.append(rng.random(200), np.arange(16) / 15)
    correct = rng.random(216) < 0.7
    expected = expected_calibration_error(
        torch.tensor(confidence), torch.tensor(correct).double(), bins=15
    )
    error = measure_reliability(confidence, correct).error
    assert error == pytest.approx(float(expected))


def test_risk():
    """The surest first."""
    confidence = np.array([0.6, 0.9, 0.7, 0.8])
    correct = np.array([True, True, False, True])
    curve = measure_risk(confidence, correct)
    assert curve.threshold.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1]
    np.testing.assert_allclose(curve.risk, [0, 0, 1 / 3, 1 / 4])
    assert curve.area == pytest.approx((1 / 3 + 1 / 4) / 4)
    assert [curve.at(wanted) for wanted in (0.1, 0.5, 0.51, 1)] == [0, 1, 2, 3]


def test_risk_does_not_depend_on_the_order():
    """Of pictures of the same confidence."""
    confidence = np.array([0.9, 0.5, 0.5, 0.5])
    for correct in ([True, False, True, True], [True, True, True, False]):
        curve = measure_risk(confidence, np.array(correct))
        assert curve.coverage.tolist() == [0.25, 1] and curve.risk.tolist() == [0, 0.25]
        assert curve.area == pytest.approx(0.75 * 0.25)


def test_stages():
    labels = np.array([0, 0, 0, 0, 0, 1])
    said = {'raw': [0, 0, 1, 1, 1, 1], 'refined': [0, 1, 0, 1, 2, 1]}
    both = np.array([0, 0, 1, 1, 0, 1])
    evaluation = Evaluation(
        ['a', 'b', 'c'],
        list('012345'),
        labels,
        np.eye(3)[both],
        {name: Answers(np.array(answers), np.ones(6)) for name, answers in said.items()},
        {},
        {},
    )
    accuracies, groups = compare_stages(evaluation)
    assert accuracies == {'raw': (3, 6), 'refined': (3, 6), 'both': (4, 6)}
    # Both right, only raw, only refined, the same mistake, two mistakes.
    assert [group[1:] for group in groups] == [(2, 2), (1, 1), (1, 0), (1, 0), (1, 1)]
    only = evaluation._replace(stages={'raw': evaluation.stages['raw']})
    assert compare_stages(only) == ({}, [])


def test_acceptance():
    """Of five pictures two are not accepted, of which one is right."""
    scores = np.eye(3)[[0, 1, 2, 0, 1]]
    labels = np.array([0, 1, 0, 0, 0])
    evaluation = Evaluation(list('abc'), list('vwxyz'), labels, scores, {}, {}, {})
    assert measure_acceptance(evaluation) == []
    evaluation = evaluation._replace(
        novelty=np.array([0.1, 0.2, 0.4, 0.8, 0.9]),
        accepted=np.array([True, True, True, False, False]),
    )
    accepted, others = measure_acceptance(evaluation)
    assert accepted == ('accepted', Share(3, 5), Share(2, 3), 0.2)
    assert others == ('not accepted', Share(2, 5), Share(1, 2), pytest.approx(0.85))
    everything = evaluation._replace(accepted=np.ones(5, bool))
    accepted, others = measure_acceptance(everything)
    assert (accepted.share, others.share, others.right) == (Share(5, 5), Share(0, 5), None)
