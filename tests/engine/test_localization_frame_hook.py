from types import SimpleNamespace

import pytest
from mmpretrain.evaluation import Accuracy
from torch import nn

from apcnn_mm.engine import LocalizationFrameHook
from apcnn_mm.evaluation import ObjectLocalization
from apcnn_mm.models import APCNNTTAModel, ROIPyramidGenerator


@pytest.mark.parametrize('wrapper', [None, nn.DataParallel, APCNNTTAModel])
def test_the_model_gives_its_generator(tiny_model, wrapper):
    """Also in a wrapper of mmengine's and for test-time augmentation."""
    model = tiny_model()
    own = ROIPyramidGenerator(border=0.2)
    metrics = [Accuracy(), ObjectLocalization(), ObjectLocalization(roi_generator=own)]
    evaluator = SimpleNamespace(metrics=metrics)
    wrapped = model if wrapper is None else wrapper(model)
    runner = SimpleNamespace(model=wrapped, test_evaluator=evaluator)
    LocalizationFrameHook().before_test(runner)
    assert metrics[1].roi_generator is model.roi_generator
    assert metrics[2].roi_generator is own


def test_other_models():
    metric = ObjectLocalization()
    runner = SimpleNamespace(
        model=nn.Linear(1, 1), test_evaluator=SimpleNamespace(metrics=[metric])
    )
    LocalizationFrameHook().before_test(runner)
    assert metric.roi_generator is None
