import pytest
import torch
from mmpretrain.models import build_backbone

from apcnn_mm.models.backbone_split import (
    find_position,
    refinement_positions,
    run_onwards,
    run_until,
)

# A small backbone of each family with outputs of strides 8, 16 and 32, and the names of
# the stages up to the lowest output.
RESNET = dict(out_indices=(1, 2, 3), depth=50, base_channels=8)
CONV = ['conv1', 'conv2', 'conv3']
FAMILIES = {
    'ResNet-18': (dict(RESNET, type='ResNet', depth=18), CONV),
    'ResNet-50': (dict(RESNET, type='ResNet'), CONV),
    'ResNetV1c': (dict(RESNET, type='ResNetV1c'), CONV),
    'ResNetV1d': (dict(RESNET, type='ResNetV1d'), CONV),
    'ResNeXt': (dict(RESNET, type='ResNeXt', groups=4, width_per_group=16), CONV),
    'SEResNet': (dict(RESNET, type='SEResNet'), CONV),
    'SEResNeXt': (dict(RESNET, type='SEResNeXt', groups=4, width_per_group=16), CONV),
    'RegNet': (dict(type='RegNet', arch='regnetx_400mf', out_indices=(1, 2, 3)), CONV),
    'VGG-11': (dict(type='VGG', depth=11, out_indices=(2, 3, 4)), CONV),
    'VGG-11 with BN': (
        dict(type='VGG', depth=11, norm_cfg=dict(type='BN'), out_indices=(2, 3, 4)),
        CONV,
    ),
    'AlexNet': (dict(type='PyramidAlexNet'), ['conv1']),
    'ConvNeXt': (
        dict(
            type='ConvNeXt',
            arch='atto',
            out_indices=(1, 2, 3),
            gap_before_final_norm=False,
        ),
        ['stage1', 'stage2'],
    ),
    'MobileNetV2': (
        dict(type='MobileNetV2', out_indices=(2, 4, 7)),
        ['conv1', 'layer1', 'layer2', 'layer3'],
    ),
    'MobileNetV3-small': (
        dict(type='MobileNetV3', arch='small', out_indices=(3, 8, 12)),
        [f'layer{i}' for i in range(4)],
    ),
    'MobileNetV3-large': (
        dict(type='MobileNetV3', arch='large', out_indices=(6, 12, 16)),
        [f'layer{i}' for i in range(7)],
    ),
    'EfficientNet': (
        dict(type='EfficientNet', arch='b0', out_indices=(3, 4, 6)),
        [f'layer{i}' for i in range(4)],
    ),
}


def randomised(config):
    """The backbone with other parameters and statistics than a new one."""
    torch.manual_seed(0)
    backbone = build_backbone(config)
    for name, tensor in backbone.state_dict().items():
        if tensor.is_floating_point() and tensor.dim() == 1:
            low = 0.5 if name.endswith(('weight', 'var', 'gamma')) else -0.1
            tensor.uniform_(low, low + 0.5)
    return backbone


@pytest.mark.parametrize('family', FAMILIES)
def test_two_parts_equal_the_whole(family):
    config, names = FAMILIES[family]
    backbone = randomised(config)
    assert find_position(backbone) == names[-1]
    positions = refinement_positions(backbone)
    assert positions == ['original', 'input', *names]
    images = torch.randn(2, 3, 75, 96)
    for training in (True, False):
        backbone.train(training)
        with torch.no_grad():
            whole = backbone(images)
            for position in positions:
                low = run_until(backbone, images, position)
                parts = run_onwards(backbone, low, position)
                assert len(parts) == len(whole)
                for part, expected in zip(parts, whole):
                    assert torch.equal(part, expected), position


@pytest.mark.parametrize(
    'family, options',
    [
        ('ResNet-18', dict(with_cp=True, frozen_stages=1)),
        ('ResNetV1d', dict(with_cp=True, frozen_stages=1)),
        ('RegNet', dict(with_cp=True, frozen_stages=2, norm_eval=True)),
        ('VGG-11 with BN', dict(frozen_stages=3, norm_eval=True)),
        ('ConvNeXt', dict(with_cp=True, frozen_stages=2)),
        ('MobileNetV2', dict(with_cp=True, frozen_stages=1)),
        ('MobileNetV3-small', dict(with_cp=True, frozen_stages=1)),
        ('EfficientNet', dict(with_cp=True, frozen_stages=2)),
    ],
)
def test_checkpointing_and_frozen_stages(family, options):
    """The two parts have the gradients of the whole."""
    backbone = randomised({**FAMILIES[family][0], **options})
    backbone.train()
    images = torch.randn(2, 3, 75, 96)

    def gradients(position):
        backbone.zero_grad()
        low = run_until(backbone, images, position)
        outputs = run_onwards(backbone, low, position)
        sum(x.square().mean() for x in outputs).backward()
        return {name: p.grad for name, p in backbone.named_parameters()}

    whole, *others = refinement_positions(backbone)
    expected = gradients(whole)
    frozen = {name for name, p in backbone.named_parameters() if not p.requires_grad}
    assert frozen and frozen == {name for name, grad in expected.items() if grad is None}
    for position in others:
        for name, gradient in gradients(position).items():
            assert (gradient is None) == (name in frozen), name
            if name not in frozen:
                torch.testing.assert_close(gradient, expected[name])


def test_fewer_levels():
    backbone = randomised(dict(type='PyramidAlexNet', out_indices=(1, 3, 4)))
    backbone.eval()
    assert refinement_positions(backbone) == ['original', 'input', 'conv1', 'conv2']
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        parts = run_onwards(backbone, run_until(backbone, images, None), None)
        for part, whole in zip(parts, backbone(images)):
            assert torch.equal(part, whole)


def test_alexnet_is_mmpretrains():
    whole = randomised(dict(type='AlexNet'))
    backbone = build_backbone(dict(type='PyramidAlexNet'))
    backbone.load_state_dict(whole.state_dict())
    images = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        assert torch.equal(backbone(images)[-1], whole(images)[-1])


def test_unknown_family():
    backbone = build_backbone(dict(type='ShuffleNetV2', out_indices=(1, 2, 3)))
    for position in (None, 'layer1'):
        with pytest.raises(ValueError, match="'input'.*AlexNet.*ResNet.*VGG"):
            find_position(backbone, position)
    images = torch.randn(2, 3, 64, 64)
    assert run_until(backbone, images, 'input') is images
    assert len(run_onwards(backbone, images, 'input')) == 3


def test_a_position_above_the_lowest_level():
    backbone = build_backbone(dict(type='ResNet', depth=18, out_indices=(1, 2, 3)))
    with pytest.raises(ValueError, match="'conv4'.*'input', 'conv1', 'conv2', 'conv3'"):
        find_position(backbone, 'conv4')


@pytest.mark.parametrize('refine_at', [None, 'input'])
@pytest.mark.parametrize('family', FAMILIES)
def test_blocks_above_the_highest_level(family, refine_at):
    """They would get no gradient."""
    config = dict(FAMILIES[family][0])
    config['out_indices'] = config.get('out_indices', (0, 1, 4))[:-1]
    with pytest.raises(ValueError, match='no gradient'):
        find_position(build_backbone(config), refine_at)


@pytest.mark.parametrize('refine_at', [None, 'input'])
@pytest.mark.parametrize(
    'family, options, message',
    [
        ('VGG-11', dict(out_indices=(2, 3, 4, 5)), r'out_indices.*\[0, 1, 2, 3, 4\]'),
        ('VGG-11', dict(num_classes=10), 'num_classes=10'),
        ('ResNet-18', dict(out_indices=(-1, 2, 3)), r'out_indices.*\[0, 1, 2, 3\]'),
        ('ConvNeXt', dict(gap_before_final_norm=True), 'gap_before_final_norm=False'),
    ],
)
def test_outputs_that_make_no_pyramid(family, options, message, refine_at):
    backbone = build_backbone({**FAMILIES[family][0], **options})
    with pytest.raises(ValueError, match=message):
        find_position(backbone, refine_at)
