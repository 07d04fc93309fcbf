"""Settings that change what a model predicts, but none of its weights."""

from typing import List

from torch import Tensor

from .backbone_split import find_position
from .stages import BOTH, CASCADE

# Of the ROI generator; strides are the backbone's, and all selections select the same.
_OF_ROIS = ('anchor_sizes', 'topk', 'iou_threshold', 'border', 'center_offset', 'guidance')
# Of the data preprocessor.
_OF_INPUTS = ('mean', 'std', 'to_rgb', 'pad_size_divisor', 'pad_value')


def read_settings(model) -> dict:
    """Read what a checkpoint says of its model besides the weights.

    Args:
        model (APCNN): The model.

    Returns:
        dict[str, Any]: Plain values by what the config calls them.
    """
    settings = {
        'stages': model.stages,
        **{f'neck.{name}': getattr(model.neck, name) for name in ('spatial', 'channel')},
        'neck.pathway_fusion': model.neck.pathway_fusion,
        'backbone.style': getattr(model.backbone, 'style', None),  # of ResNets
    }
    for name in _OF_INPUTS:
        value = getattr(model.data_preprocessor, name, None)
        if isinstance(value, Tensor):
            value = [round(number, 4) for number in value.flatten().tolist()]
        settings[f'data_preprocessor.{name}'] = value
    if model.stages == BOTH:
        settings['refine_at'] = find_position(model.backbone, model.refine_at)
        settings['head.zoom_in'] = model.head.zoom_in
        for name in _OF_ROIS:
            settings[f'roi_generator.{name}'] = getattr(model.roi_generator, name)
    return settings


def find_differences(meta: dict, model) -> List[str]:
    """Find what a checkpoint was made for, and the model is not.

    Args:
        meta (dict): The ``meta`` of the checkpoint. ``DataCheckHook`` has left the
            settings there, and tools/calibrate.py what it did.
        model (APCNN): The model that predicts with it.

    Returns:
        list[str]: What to say about it.
    """
    sentences = []
    settings = read_settings(model)
    trained = meta.get('model_settings', settings)
    differing = [
        f'model.{name} was {trained[name]!r}, and is {settings[name]!r} now'
        for name in settings
        if name in trained and _plain(trained[name]) != _plain(settings[name])
    ]
    if differing:
        sentences.append(
            'The checkpoint was trained as another model, which its weights do not show: '
            f'{"; ".join(differing)}. Use the config that the training left in its work '
            'directory, if this is not on purpose.'
        )
    stage = meta.get('calibration', {}).get('stage', model.test_stage)
    # The confidence that a cascade's threshold is for is a calibrated one.
    if stage != (BOTH if model.test_stage == CASCADE else model.test_stage):
        sentences.append(
            f'The checkpoint was calibrated for model.test_cfg.stage={stage!r}, but it is '
            f'{model.test_stage!r} now: its probabilities and its threshold are for other '
            'scores. Calibrate the original checkpoint again with the setting that you '
            'use.'
        )
    return sentences


def _plain(value):
    """Lists and tuples are alike."""
    return list(value) if isinstance(value, tuple) else value
