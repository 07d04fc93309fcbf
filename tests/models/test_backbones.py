"""AP-CNN on every family of backbones."""

import math

import pytest
import torch
from helpers import build_model
from mmpretrain.models import build_backbone, build_classifier
from mmpretrain.structures import DataSample
from test_backbone_split import FAMILIES

from apcnn_mm.models.backbone_split import find_position

STRIDES = (8, 16, 32)
BACKBONES = {family: (config, None) for family, (config, _) in FAMILIES.items()}
# Any other backbone can be refined at the input.
BACKBONES['ShuffleNetV2'] = (
    dict(type='ShuffleNetV2', widen_factor=0.5, out_indices=(0, 1, 3)),
    'input',
)


def build_apcnn(config, refine_at):
    with torch.no_grad():
        outputs = build_backbone(config)(torch.zeros(2, 3, 96, 96))
    return build_classifier(
        dict(
            type='APCNN',
            backbone=config,
            neck=dict(
                type='AttentionFPN',
                in_channels=[x.size(1) for x in outputs],
                out_channels=32,
            ),
            roi_generator=dict(
                type='ROIPyramidGenerator', strides=STRIDES, anchor_sizes=(16, 32, 64)
            ),
            head=dict(type='APCNNHead', num_classes=5, in_channels=32, hidden_channels=16),
            refine_at=refine_at,
        )
    )


@pytest.mark.parametrize('size', [(96, 128), (129, 100)])
@pytest.mark.parametrize('family', BACKBONES)
def test_training_and_prediction(family, size):
    torch.manual_seed(0)
    model = build_apcnn(*BACKBONES[family])
    inputs = torch.randn(2, 3, *size)
    labels = [DataSample().set_gt_label(label) for label in (1, 4)]
    losses = model.train()(inputs, labels, mode='loss')
    (losses['loss_raw'] + losses['loss_refined']).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    with torch.no_grad():
        for sample in model.eval()(inputs, mode='predict'):
            assert sample.pred_score.sum() == pytest.approx(1, abs=1e-5)
            assert len(sample.rois) >= 1


@pytest.mark.parametrize('family', BACKBONES)
def test_strides(family):
    model = build_apcnn(*BACKBONES[family]).eval()
    with torch.no_grad():
        outputs = model.extract_feat(torch.randn(1, 3, 192, 256), 'backbone')
    for x, stride in zip(outputs, STRIDES):
        # Not exact where a backbone does not pad.
        assert 2 ** round(math.log2(256 / x.size(-1))) == stride


@pytest.mark.parametrize(
    'config',
    ['apcnn_vgg19_cub.py', 'apcnn_r50_in21k_cub.py', 'apcnn_convnext_cub.py'],
)
def test_configs(config):
    torch.manual_seed(0)
    model = build_model(config).eval()
    with torch.no_grad():
        assert torch.isfinite(model(torch.randn(1, 3, 96, 96), mode='tensor')).all()
        assert find_position(model.backbone, model.refine_at) != 'input'


def load_into(config, weights):
    model = build_apcnn(config, 'input')
    model.backbone.init_cfg = dict(type='Pretrained', checkpoint=str(weights))
    model.init_weights()
    return model.backbone.state_dict()


@pytest.fixture
def resnet_weights(tmp_path):
    states = build_backbone(dict(type='ResNet', depth=18)).state_dict()
    torch.save(states, tmp_path / 'resnet.pth')
    return tmp_path / 'resnet.pth'


@pytest.mark.parametrize(
    'other',
    [
        dict(type='ResNet', depth=34, out_indices=(1, 2, 3)),
        dict(type='ResNet', depth=18, out_indices=(1, 2, 3), base_channels=32),
        dict(type='MobileNetV2', out_indices=(2, 4, 7)),
    ],
)
def test_pretrained_weights_of_another_backbone(other, resnet_weights):
    """mmengine would log what is missing, and train the rest, or all, from scratch."""
    with pytest.raises(ValueError, match='The weights are not those of'):
        load_into(other, resnet_weights)


def test_pretrained_weights_of_a_classifier(resnet_weights):
    """As mmpretrain's: the backbone is a part of what the file has."""
    states = {f'backbone.{k}': x for k, x in torch.load(resnet_weights).items()}
    torch.save(states, resnet_weights)
    with pytest.raises(ValueError, match='20 of 20 layers are missing.*prefix=backbone'):
        load_into(dict(type='ResNet', depth=18, out_indices=(1, 2, 3)), resnet_weights)


def test_pretrained_weights_of_the_first_layers(resnet_weights):
    config = dict(type='ResNet', depth=18, out_indices=(1, 2, 3))
    states = torch.load(resnet_weights)
    first = {key: x for key, x in states.items() if not key.startswith('layer4')}
    torch.save(first, resnet_weights)
    loaded = load_into(config, resnet_weights)
    assert all(torch.equal(loaded[key], x) for key, x in first.items())


def test_pretrained_weights_of_the_stem_alone(resnet_weights):
    states = {'conv1.weight': torch.load(resnet_weights)['conv1.weight']}
    torch.save(states, resnet_weights)
    with pytest.raises(ValueError, match='19 of 20 layers are missing'):
        load_into(dict(type='ResNet', depth=18, out_indices=(1, 2, 3)), resnet_weights)


def test_a_part_of_the_weights_by_hand(resnet_weights):
    """In Python, who loads them looks after them."""
    config = dict(type='ResNet', depth=18, out_indices=(1, 2, 3))
    stem = torch.load(resnet_weights)['conv1.weight']
    model = build_apcnn(config, 'input')
    model.init_weights()
    model.backbone.load_state_dict({'conv1.weight': stem}, strict=False)
    assert torch.equal(model.backbone.conv1.weight, stem)


def test_pretrained_weights_without_the_norms_of_outputs(tmp_path):
    """A ConvNeXt that was trained as a classifier normalises its last output alone."""
    config = dict(
        type='ConvNeXt', arch='atto', out_indices=(1, 2, 3), gap_before_final_norm=False
    )
    states = build_backbone(config).state_dict()
    states = {key: x for key, x in states.items() if key[:5] not in ('norm1', 'norm2')}
    torch.save(states, tmp_path / 'convnext.pth')
    loaded = load_into(config, tmp_path / 'convnext.pth')
    assert all(torch.equal(loaded[key], x) for key, x in states.items())
