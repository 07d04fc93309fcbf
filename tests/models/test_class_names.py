"""mmpretrain's get_model gives AP-CNN the names of its own classes, or none."""

import mmpretrain
import pytest
import torch
from helpers import MINIBIRDS_CONFIG, REPO
from mmengine.config import Config
from mmengine.runner import load_checkpoint

NAMES = ('auk', 'bunting', 'crow', 'dove', 'egret')


@pytest.fixture
def checkpoint(tiny_model, tmp_path):
    """One of five classes."""
    path = tmp_path / 'five.pth'
    meta = dict(dataset_meta=dict(classes=NAMES))
    torch.save(dict(state_dict=tiny_model().state_dict(), meta=meta), path)
    return str(path)


def config(num_classes):
    cfg = Config.fromfile(REPO / MINIBIRDS_CONFIG)
    backbone = dict(stem_channels=8, base_channels=8)
    neck = dict(in_channels=[16, 32, 64], out_channels=32)
    head = dict(num_classes=num_classes, in_channels=32, hidden_channels=16)
    cfg.merge_from_dict(dict(model=dict(backbone=backbone, neck=neck, head=head)))
    return cfg


def test_same_classes(checkpoint):
    model = mmpretrain.get_model(config(5), pretrained=checkpoint)
    assert model._dataset_meta['classes'] == NAMES
    assert mmpretrain.ImageClassificationInferencer(model).classes == NAMES


@pytest.mark.parametrize('num_classes', [4, 6])
def test_other_classes(checkpoint, num_classes):
    """Neither an answer, nor a wrong name."""
    with pytest.raises(ValueError, match=f'num_classes is {num_classes}.*5'):
        mmpretrain.get_model(config(num_classes), pretrained=checkpoint)
    with pytest.raises(ValueError, match=f'num_classes is {num_classes}.*5'):
        mmpretrain.ImageClassificationInferencer(config(num_classes), checkpoint)


def test_no_checkpoint():
    """The data set's type knows the names of all 200 birds, the model's ten are others."""
    model = mmpretrain.get_model('apcnn_r18_minibirds')
    assert 'classes' not in model._dataset_meta
    assert len(mmpretrain.get_model('apcnn_r50_cub')._dataset_meta['classes']) == 200


def test_fine_tuning(tiny_model, checkpoint):
    """Weights of other classes are where training may start."""
    model = tiny_model(**{'head.num_classes': 6})
    load_checkpoint(model, checkpoint)
    expected = tiny_model()
    load_checkpoint(expected, checkpoint)
    torch.testing.assert_close(
        model.backbone.layer4.state_dict(), expected.backbone.layer4.state_dict()
    )
    assert model.head.num_classes == 6
