"""A checkpoint knows of its model what the weights do not show."""

import re

import pytest

from apcnn_mm.models.settings import find_differences, read_settings


def test_the_same_model(tiny_model):
    """By whatever name the default position goes, and whichever stages count."""
    meta = dict(model_settings=read_settings(tiny_model()))
    model = tiny_model(refine_at='conv3', test_cfg=dict(stage='raw'))
    assert find_differences(meta, model) == []
    assert find_differences({}, model) == []


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(stages='raw'), "model.stages was 'both', and is 'raw' now"),
        (dict(refine_at='input'), "model.refine_at was 'conv3', and is 'input' now"),
        (
            {'roi_generator.anchor_sizes': (16, 32, 64)},
            r'roi_generator.anchor_sizes was .*, and is \(16, 32, 64\) now',
        ),
        ({'head.zoom_in': False}, 'head.zoom_in was True, and is False now'),
        ({'neck.pathway_fusion': 'sum'}, "neck.pathway_fusion was 'average'"),
        (
            {'data_preprocessor': dict(mean=[127.5] * 3, std=[58.0] * 3)},
            r'data_preprocessor.mean was None, and is \[127.5, 127.5, 127.5\] now',
        ),
    ],
)
def test_other_settings(tiny_model, options, message):
    """Each of these predicts something else with the same weights, in silence."""
    meta = dict(model_settings=read_settings(tiny_model()))
    (sentence,) = find_differences(meta, tiny_model(**options))
    assert re.search(message, sentence)
