import re

import numpy as np
import pytest
from helpers import MINIBIRDS_CONFIG as CONFIG
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tools.analysis import tune_cascade

IMAGES = st.tuples(st.floats(0.125, 1, width=32), st.booleans(), st.booleans())


@given(st.lists(IMAGES, min_size=1, max_size=30), st.floats(0, 60))
def test_the_picked_threshold(rows, max_loss):
    """What is picked and all above keep to the loss; the next smaller one does not."""
    confidence, raw, both = map(np.array, zip(*rows))
    curve = tune_cascade.cascade_curve(confidence, raw, both)
    assert (curve.thresholds[0], curve.thresholds[-1]) == (0, 1)
    assert (curve.shares[0], curve.shares[-1]) == (0, 1)
    assert curve.accuracies[0] == pytest.approx(100 * raw.mean())
    assert curve.accuracies[-1] == pytest.approx(100 * both.mean())
    assert (np.diff(curve.shares) >= 0).all()
    assert [float(f'{t:.4f}') for t in curve.thresholds] == curve.thresholds.tolist()
    chosen = tune_cascade.pick(curve, max_loss)
    loss = curve.accuracies[-1] - curve.accuracies
    assert (loss[chosen:] <= max_loss + 1e-6).all()
    assert chosen == 0 or loss[chosen - 1] > max_loss


def test_the_curve_by_hand():
    """Four images: the second stage mends the first, spoils the last."""
    confidence = np.array([0.3, 0.5, 0.7, 0.99996])
    raw, both = np.array([False, True, True, True]), np.array([True, True, True, False])
    curve = tune_cascade.cascade_curve(confidence, raw, both)
    assert curve.thresholds.tolist() == [0, 0.3, 0.5, 0.7, 1]
    assert curve.shares.tolist() == [0, 0, 0.25, 0.5, 1]
    assert curve.accuracies.tolist() == [75, 75, 100, 100, 75]
    assert tune_cascade.pick(curve, 0) == 0
    # Below one that is too bad, nothing is picked by luck.
    curve = curve._replace(accuracies=np.array([75, 50, 75, 80, 75]))
    assert curve.thresholds[tune_cascade.pick(curve, 0.1)] == 0.5


def test_table_plot_and_what_the_model_then_does(run_main, trained, tmp_path):
    done = run_main(
        tune_cascade,
        *(CONFIG, trained.checkpoint, '--max-loss', 20, '--plot', tmp_path / 'curve.png'),
        *('--cfg-options', *trained.options, 'val_dataloader.num_workers=0'),
    )
    assert done.returncode == 0, done.stderr
    assert 'are also its test images' in done.stdout
    assert '12 images of 128 x 128; one of them is 8.33 points' in done.stdout
    rows = re.findall(
        r'^ *(\d\.\d{4}) +([\d.]+)% +([\d.]+) % +([\d.]+) G', done.stdout, re.M
    )
    thresholds, shares, accuracies, costs = map(list, zip(*[map(float, r) for r in rows]))
    assert thresholds == sorted(thresholds) and thresholds[-1] == 1
    assert (shares[0], shares[-1]) == (0, 100)
    assert costs == sorted(costs)
    assert Image.open(tmp_path / 'curve.png').size == (900, 600)
    assert 'test_cfg.stage=' in done.stdout.splitlines()[-1]
    (picked,) = re.findall(r'^ *(\d\.\d{4}) .*picked', done.stdout, re.M)
    assert float(picked) in thresholds
    assert accuracies[thresholds.index(float(picked))] >= accuracies[-1] - 20


@pytest.mark.parametrize(
    'options, message',
    [
        (('--max-loss', '-1'), '--max-loss must be at least 0'),
        (('--plot', f'{__file__}/curve.png'), '--plot: [Errno 17] File exists'),
        (('--plot', '{tmp}/curve.txt'), 'curve.txt must end in'),
        (('--cfg-options', 'model.stages=raw'), 'needs two stages'),
    ],
)
def test_mistakes(run_main, tmp_path, options, message):
    options = [option.format(tmp=tmp_path) for option in options]
    done = run_main(tune_cascade, CONFIG, __file__, *options)
    assert done.returncode and message.format(tmp=tmp_path) in done.stderr
