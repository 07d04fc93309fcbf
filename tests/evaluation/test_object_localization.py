import pytest
import torch
from mmpretrain.registry import METRICS


def sample(merged, box, scale=1.0):
    merged = torch.tensor(merged, dtype=torch.float32) * scale
    return dict(
        merged_box=merged,
        object_box=box,
        ori_shape=(100, 100),
        img_shape=(100 * scale, 100 * scale),
        scale_factor=(scale, scale),
    )


def evaluate(samples, **options):
    metric = METRICS.build(dict(type='ObjectLocalization', **options))
    metric.process(None, samples)
    return metric.evaluate(len(samples))


def test_measures():
    """Boxes that are equal, half as large, twice as large and elsewhere."""
    samples = [
        sample([10, 10, 50, 50], [10, 10, 50, 50]),
        sample([10, 10, 30, 50], [10, 10, 50, 50], scale=2.0),
        sample([10, 10, 90, 50], [10, 10, 50, 50]),
        sample([60, 60, 90, 90], [10, 10, 50, 50]),
    ]
    assert evaluate(samples) == {
        'localization/mIoU': pytest.approx(50),
        'localization/recall': pytest.approx(62.5),
        'localization/recall@0.5': pytest.approx(75),
    }
    assert evaluate(samples, iou_threshold=0.75)['localization/recall@0.75'] == 25


def test_nothing_to_compare():
    without = sample([10, 10, 50, 50], [10, 10, 50, 50])
    del without['merged_box']
    assert evaluate([without]) == {}
