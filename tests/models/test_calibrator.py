import math
from copy import deepcopy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage, StochasticWeightAverage
from mmengine.runner.checkpoint import load_state_dict
from mmpretrain.structures import DataSample

from apcnn_mm.models import APCNNTTAModel
from apcnn_mm.models.calibrator import (
    SCORES,
    Calibrator,
    fit_temperature,
    fit_threshold,
)


def drawn(n, classes=5, seed=0):
    """Logits, and labels that are drawn from their probabilities."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=generator)
    labels = logits.softmax(1).multinomial(1, generator=generator)[:, 0]
    return logits, labels


@pytest.mark.parametrize('factor', [0.5, 1.0, 3.0])
def test_temperature_undoes_overconfidence(factor):
    logits, labels = drawn(20_000)
    assert fit_temperature(factor * logits, labels) == pytest.approx(factor, rel=0.05)


def test_temperature_has_the_smallest_cross_entropy():
    logits, labels = drawn(200)
    best = fit_temperature(logits, labels)
    nll = [
        torch.nn.functional.cross_entropy(logits / (best * factor), labels)
        for factor in (0.97, 1.0, 1.03)
    ]
    assert nll[1] < nll[0] and nll[1] < nll[2]


def test_no_best_temperature():
    """All right, all wrong, or colder than what one believes in."""
    logits, labels = drawn(2000)
    assert fit_temperature(logits, logits.argmax(1)) == 1
    assert fit_temperature(logits, logits.argmin(1)) == 1
    assert fit_temperature(logits / 2, labels) < 0.6
    assert fit_temperature(logits / 2, labels, coldest=1) == 1
    assert fit_temperature(2 * logits, labels, coldest=1) > 1.8


def test_threshold_accepts_the_share_of_new_images():
    """On average over many calibrations of few images, where the quantile would not."""
    generator = torch.Generator().manual_seed(0)
    shares = []
    for _ in range(2000):
        values = torch.rand(25, generator=generator)
        shares.append(fit_threshold(values, 0.8))  # of uniform values, its own share
    # 21 of 26, the smallest one that is not below 0.8, and half of the next one
    assert sum(shares) / len(shares) == pytest.approx(21.5 / 26, abs=0.006)


def test_threshold_of_too_few_images():
    assert fit_threshold(torch.arange(19.0), 0.95) == 18.5  # beyond all of them
    with pytest.raises(ValueError, match='at least 19 .* not 18'):
        fit_threshold(torch.arange(18.0), 0.95)


def test_scores():
    calibrator = Calibrator()
    agreeing = torch.tensor([4.0, 0, 0]).expand(8, 1, 3)
    apart = agreeing.clone()
    apart[4:] = torch.tensor([0, 4.0, 0])
    flat = torch.zeros(8, 1, 3)
    scores = {
        name: calibrator.scores(logits)[:, 0]
        for name, logits in dict(agreeing=agreeing, apart=apart, flat=flat).items()
    }
    probs = torch.tensor([4.0, 0, 0]).softmax(0)
    torch.testing.assert_close(scores['agreeing'][0], 1 - probs[0])
    assert scores['agreeing'][1].item() == pytest.approx(-math.log(math.exp(4) + 2))
    # All say the same, however unsure they are of it.
    assert scores['agreeing'][2].abs() < 1e-6 and scores['flat'][2].abs() < 1e-6
    # Half of them the one, half the other: from the mean of the two.
    mean = (probs + probs[[1, 0, 2]]) / 2
    divergence = (probs * (probs / mean).log()).sum()
    torch.testing.assert_close(scores['apart'][2], divergence)
    assert (scores['apart'] > scores['agreeing']).all()
    assert torch.isfinite(calibrator.scores(1e4 * apart)).all()


def test_an_image_is_judged_by_itself():
    logits = torch.randn(8, 6, 5)
    calibrator = Calibrator()
    whole = calibrator.scores(logits)
    single = torch.cat([calibrator.scores(logits[:, i : i + 1]) for i in range(6)], 1)
    torch.testing.assert_close(whole, single)


@pytest.mark.parametrize('score', SCORES)
def test_fit(score):
    fused, labels = drawn(400)
    logits = 2 * fused + 0.5 * torch.randn(8, 400, 5)
    calibrator = Calibrator()
    assert calibrator(logits)[1].all()  # not yet calibrated
    calibrator.fit(logits, labels, score, accept=0.9)
    novelty, accepted = calibrator(logits)
    torch.testing.assert_close(novelty, calibrator.scores(logits)[SCORES.index(score)])
    assert accepted.float().mean() == pytest.approx(0.9025)  # 361 of 400
    assert 1.5 < calibrator.temperature < 2.5
    calibrator.reset()
    assert calibrator(logits)[1].all() and calibrator.temperature == 1


@pytest.fixture
def model(tiny_model):
    torch.manual_seed(0)
    return tiny_model().eval()


def calibrate(model):
    calibrator = model.head.calibrator
    calibrator.temperature.fill_(2.0)
    calibrator.score.fill_(SCORES.index('disagreement'))
    calibrator.threshold.fill_(0.5)


def test_predictions(model):
    images = torch.randn(3, 3, 64, 64)
    before, logits = model.predict(images), model.classify(images)
    assert logits.shape == (2, 4, 3, 5)
    torch.testing.assert_close(model(images), logits.mean((0, 1)))
    calibrate(model)
    novelty = model.head.calibrator.scores(logits.flatten(0, 1))[2]
    model.head.calibrator.threshold.copy_(novelty.median())
    after = model.predict(images)
    for i, (plain, sample) in enumerate(zip(before, after)):
        probs = (logits.mean((0, 1))[i] / 2).softmax(0)
        torch.testing.assert_close(sample.pred_score, probs)
        assert torch.equal(sample.pred_label, plain.pred_label)
        stages = (logits.mean(1)[:, i] / 2).softmax(1)
        torch.testing.assert_close(sample.stage_scores, stages)
        torch.testing.assert_close(sample.novelty, novelty[i])
        assert plain.accepted and plain.novelty != sample.novelty
    assert sum(bool(sample.accepted) for sample in after) == 2


def test_training_ends_a_calibration(model):
    """By whatever loop; a loss for validation, or a mere change of mode, does not."""
    calibrate(model)
    images = torch.randn(2, 3, 64, 64)
    samples = [DataSample().set_gt_label(label) for label in (0, 1)]
    model.train()
    model.eval()
    model(images, samples, mode='loss')
    assert model.head.calibrator.temperature == 2
    model.train()(images, samples, mode='loss')
    for name, value in Calibrator().named_buffers():
        assert torch.equal(model.head.calibrator.get_buffer(name), value)


@pytest.mark.parametrize('average', [ExponentialMovingAverage, StochasticWeightAverage])
def test_the_average_of_no_thresholds_is_none(average):
    """mmengine's averages of buffers take the difference of two infinite ones."""
    source = Calibrator()
    averaged = average(source, update_buffers=True)
    for _ in range(3):
        averaged.update_parameters(source)
    _, accepted = averaged.module(torch.randn(4, 3, 5))
    assert accepted.all()


@pytest.mark.parametrize('share', [0.0, 0.5, 1.0])
def test_cascade(model, share):
    """Images of one stage are judged by its classifiers alone, whoever is beside them."""
    calibrate(model)
    images = torch.randn(6, 3, 64, 64)
    both = model.classify(images)
    # The confidence that is compared is the calibrated one, as predictions show it.
    confidence = torch.stack([s.stage_scores[0].max() for s in model.predict(images)])
    model.test_stage = 'cascade'
    model.threshold = confidence.quantile(share).item() if share else 0.0
    is_refined = confidence < model.threshold
    assert is_refined.sum() == {0.0: 0, 0.5: 3, 1.0: 5}[share]
    logits, samples = model.classify(images), model.predict(images)
    expected = both.clone()
    expected[1, :, ~is_refined] = both[0, :, ~is_refined]
    torch.testing.assert_close(logits, expected)
    scores = model.head.calibrator.scores
    for i, sample in enumerate(samples):
        one = both[: 2 if is_refined[i] else 1, :, i : i + 1].flatten(0, 1)
        torch.testing.assert_close(sample.novelty, scores(one)[2, 0])
        probs = (one.mean((0, 1)) / 2).softmax(0)
        torch.testing.assert_close(sample.pred_score, probs)
        assert len(sample.stage_scores) == 1 + is_refined[i]


def test_checkpoints(model, recwarn, capsys):
    """One from before there were calibrations loads strictly, and is not calibrated."""
    calibrated, other = deepcopy(model), deepcopy(model)
    calibrate(calibrated)
    load_state_dict(other, calibrated.state_dict(), strict=True)
    assert other.head.calibrator.temperature == 2 and other.head.calibrator.score == 2
    old = {k: v for k, v in model.state_dict().items() if 'calibrator' not in k}
    assert len(old) == len(model.state_dict()) - 3
    for load in (
        lambda model: load_state_dict(model, old, strict=True),
        lambda model: model.load_state_dict(old),
    ):
        other = deepcopy(calibrated)
        load(other)
        assert other.head.calibrator.temperature == 1
        assert other.head.calibrator.threshold == math.inf
    assert not recwarn and capsys.readouterr().out == ''


def test_test_time_augmentation(model):
    calibrate(model)
    tta = APCNNTTAModel(model)
    views = [DataSample().set_pred_score(torch.ones(5) / 5) for _ in range(2)]
    for sample, novelty in zip(views, (0.2, 0.9)):
        sample.novelty = torch.tensor(novelty)
        sample.accepted = sample.novelty <= 0.5
    merged = tta._merge_single_sample(views)
    assert merged.novelty == pytest.approx(0.55) and not merged.accepted
