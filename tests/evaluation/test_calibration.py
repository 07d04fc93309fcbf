import pytest
import torch
from mmengine.evaluator import Evaluator
from mmpretrain.structures import DataSample

from apcnn_mm.evaluation.calibration import (
    auroc,
    expected_calibration_error,
    share_below,
)


def sample(probs, label=None, **fields):
    result = DataSample().set_pred_score(torch.tensor(probs))
    result.set_gt_label(torch.empty(0, dtype=torch.long) if label is None else label)
    for name, value in fields.items():
        result.set_field(torch.tensor(value), name)
    return result


def evaluate(samples, **options):
    evaluator = Evaluator(dict(type='Calibration', **options))
    for i in range(0, len(samples), 2):
        evaluator.process(samples[i : i + 2])
    return evaluator.evaluate(len(samples))


def test_calibration_error_by_hand():
    confidence = torch.tensor([0.25, 0.3, 0.5, 0.9, 1.0])
    correct = torch.tensor([0.0, 1.0, 1.0, 1.0, 0.0])
    # Two bins, (0, 0.5] with 0.35 for 2 / 3 and (0.5, 1] with 0.95 for 1 / 2.
    expected = 3 / 5 * (2 / 3 - 0.35) + 2 / 5 * (0.95 - 1 / 2)
    assert expected_calibration_error(confidence, correct, 2) == pytest.approx(expected)
    # One bin: the distance of the means.
    assert expected_calibration_error(confidence, correct, 1) == pytest.approx(0.01)


def test_calibration_error_of_calibrated_and_overconfident():
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(100_000, generator=generator)
    correct = torch.rand(100_000, generator=generator) < confidence
    assert expected_calibration_error(confidence, correct.float(), 15) < 0.01
    correct = torch.rand(100_000, generator=generator) < confidence**2
    error = expected_calibration_error(confidence, correct.float(), 15)
    assert error == pytest.approx(1 / 2 - 1 / 3, abs=0.01)


def test_auroc():
    strangers, known = torch.tensor([3.0, 5, 2]), torch.tensor([1.0, 2, 4, 4])
    pairs = (strangers[:, None] > known).double() + (strangers[:, None] == known) / 2
    assert auroc(strangers, known) == pytest.approx(float(pairs.mean()))
    assert auroc(known, strangers) == pytest.approx(1 - float(pairs.mean()))
    assert auroc(known, known) == 0.5


def test_share_below():
    known = torch.arange(1.0, 21)
    # 19 of 20 are at most 19; a threshold below it would accept too few.
    assert share_below(torch.tensor([0.0, 19, 19.5, 30]), known[:19], 0.95) == 0.5
    assert share_below(torch.tensor([0.0, 19, 19.5, 30]), known, 0.9) == 0.5


def test_known_classes_alone():
    metrics = evaluate(
        [sample([0.7, 0.3], 0), sample([0.9, 0.1], 1), sample([0.2, 0.8], 1)]
    )
    assert metrics == {
        'calibration/top1': pytest.approx(200 / 3),
        'calibration/ECE': pytest.approx(100 * (0.3 + 0.9 + 0.2) / 3, rel=1e-5),
        'calibration/NLL': pytest.approx(
            -float(torch.tensor([0.7, 0.1, 0.8]).log().mean())
        ),
    }


def test_strangers():
    known = [
        sample([0.7, 0.3], 0, novelty=0.1, accepted=True),
        sample([0.9, 0.1], 1, novelty=0.6, accepted=False),
        sample([0.2, 0.8], 1, novelty=0.2, accepted=True),
    ]
    strangers = [
        sample([0.99, 0.01], novelty=0.7, accepted=False),
        sample([0.8, 0.2], novelty=0.3, accepted=True),
    ]
    metrics = evaluate([*known, *strangers])
    assert metrics['calibration/top1'] == pytest.approx(200 / 3)
    assert metrics['calibration/AUROC'] == pytest.approx(100 * 5 / 6)
    assert metrics['calibration/FPR95'] == 50
    assert metrics['calibration/accepted'] == pytest.approx(200 / 3)
    assert metrics['calibration/accepted_strangers'] == 50
    assert metrics['calibration/top1_accepted'] == 100
    # By the largest probability, where a classifier tells no novelty.
    plain = [*map(without_novelty, known), *map(without_novelty, strangers)]
    metrics = evaluate(plain)
    assert metrics['calibration/AUROC'] == pytest.approx(100 * 1.5 / 6)
    assert 'calibration/accepted' not in metrics


def without_novelty(sample):
    result = sample.clone()
    del result.novelty, result.accepted
    return result


def test_no_known_class():
    with pytest.raises(ValueError, match='needs images of known classes'):
        evaluate([sample([0.7, 0.3])])


def test_a_probability_of_zero():
    assert evaluate([sample([1.0, 0.0], 1)])['calibration/NLL'] < 100
