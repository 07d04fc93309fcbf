import pytest
import torch
from mmpretrain.models import build_backbone

from apcnn_mm.models import BackboneStages

BACKBONES = {
    'ResNet': (dict(type='ResNet', depth=18, out_indices=(1, 2, 3)), 'conv3'),
    'ResNetV1d': (dict(type='ResNetV1d', depth=50, out_indices=(1, 2, 3)), 'conv3'),
    'MobileNetV2': (dict(type='MobileNetV2', out_indices=(2, 4, 7)), 'layer3'),
}


@pytest.mark.parametrize('name', BACKBONES)
def test_two_parts_equal_the_whole(name):
    config, default = BACKBONES[name]
    torch.manual_seed(0)
    backbone = build_backbone(config)
    backbone.eval()
    stages = BackboneStages(backbone)
    assert stages.refine_at == default
    images = torch.randn(1, 3, 75, 64)
    with torch.no_grad():
        whole = backbone(images)
        with pytest.raises(ValueError) as error:
            BackboneStages(backbone, 'nowhere')
        positions = [p for p in ('input', 'conv1', 'conv2', 'conv3', 'layer1', 'layer3')
                     if f"'{p}'" in str(error.value)]  # fmt: skip
        assert len(positions) >= 4
        for position in positions:
            stages = BackboneStages(backbone, position)
            parts = stages.onwards(stages.until(images))
            assert len(parts) == len(whole)
            for part, expected in zip(parts, whole):
                assert torch.equal(part, expected)


def test_unknown_family():
    backbone = build_backbone(dict(type='ShuffleNetV2', out_indices=(1, 2, 3)))
    with pytest.raises(ValueError, match='ResNet'):
        BackboneStages(backbone)
    images = torch.randn(2, 3, 64, 64)
    stages = BackboneStages(backbone, 'input')
    assert stages.until(images) is images
    assert len(stages.onwards(images)) == 3


def test_a_position_above_the_lowest_level():
    backbone = build_backbone(dict(type='ResNet', depth=18, out_indices=(1, 2, 3)))
    with pytest.raises(ValueError, match='conv4'):
        BackboneStages(backbone, 'conv4')
