"""AP-CNN on the backbones of timm."""

from urllib.error import URLError

import pytest
import timm
import torch
from helpers import REPO
from mmengine.config import Config
from mmpretrain.models import build_backbone, build_classifier
from mmpretrain.structures import DataSample
from safetensors.torch import save_file

from apcnn_mm.models.backbone_split import (
    find_position,
    refinement_positions,
    run_backbone,
    run_onwards,
    run_until,
)

# A small member of each family, and what makes it smaller.
FAMILIES = {
    'convnextv2_atto': dict(out_indices=(1, 2, 3)),
    'cs3darknet_focus_s': {},
    'densenet121': dict(block_config=(2, 2, 2, 2)),
    'dla46x_c': dict(out_indices=(3, 4, 5)),
    'ese_vovnet19b_slim_dw': {},
    'ghostnet_050': {},
    'hgnetv2_b0': dict(out_indices=(1, 2, 3)),
    'inception_next_atto': dict(out_indices=(-3, -2, -1)),
    'mobilenetv3_small_050': {},
    'mobilenetv4_conv_small_035': {},
    'mobilevit_xxs': {},
    'nf_regnet_b0': {},
    'regnety_002': {},
    'res2net50_14w_8s': dict(layers=(1, 1, 1, 1)),
    'resnetrs50': dict(layers=(1, 1, 1, 1)),
    'resnetv2_18': dict(layers=(1, 1, 1, 1)),
    'rexnet_100': {},
    'tf_efficientnet_lite0': {},
    'tf_efficientnetv2_b0': {},
    'vgg11': dict(out_indices=(3, 4, 5), mlp_ratio=0.01),
    # Transformers with a pyramid; the second and third have channels last.
    'pvt_v2_b0': dict(out_indices=(1, 2, 3)),
    'swin_tiny_patch4_window7_224': dict(
        out_indices=(1, 2, 3),
        embed_dim=16,
        depths=(2, 2, 2, 2),
        num_heads=(1, 1, 2, 2),
        window_size=4,
        img_size=(64, 96),
        strict_img_size=False,
    ),
    'test_mambaout': dict(out_indices=(1, 2, 3)),
}
# Those that are no row of modules are refined at the input.
AT_INPUT = {
    'cspnext_tiny': {},
    'test_resnet': dict(feature_cls='hook'),
}
SIZES = [(64, 96), (128, 64)]


def backbone_config(name, **options):
    return dict(
        dict(
            type='TIMMBackbone', model_name=name, features_only=True, out_indices=(2, 3, 4)
        ),
        **options,
    )


def build_apcnn(name, neck=None, roi_generator=None, refine_at=None, **options):
    return build_classifier(
        dict(
            type='APCNN',
            backbone=backbone_config(name, **options),
            neck=dict(type='AttentionFPN', out_channels=16, **(neck or {})),
            roi_generator=dict(
                type='ROIPyramidGenerator',
                anchor_sizes=(16, 32, 64),
                **(roi_generator or {}),
            ),
            head=dict(type='APCNNHead', num_classes=5, in_channels=16, hidden_channels=8),
            refine_at=refine_at,
        )
    )


def check_steps(model):
    """A step of training with gradients everywhere, and a prediction, at two sizes."""
    labels = [DataSample().set_gt_label(label) for label in (1, 4)]
    for size in SIZES:
        model.zero_grad()
        inputs = torch.randn(2, 3, *size)
        losses = model.train()(inputs, labels, mode='loss')
        (losses['loss_raw'] + losses['loss_refined']).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
        with torch.no_grad():
            for sample in model.eval()(inputs, mode='predict'):
                assert sample.pred_score.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize('name', FAMILIES)
def test_families(name):
    torch.manual_seed(0)
    model = build_apcnn(name, **FAMILIES[name])
    check_steps(model)

    images = torch.randn(1, 3, 64, 96)
    backbone = model.backbone
    positions = refinement_positions(backbone)
    assert find_position(backbone) == positions[-1] != 'input'
    with torch.no_grad():
        whole = run_backbone(backbone, images)
        for x, channels, stride in zip(
            whole, model.neck.in_channels, model.roi_generator.strides
        ):
            assert x.shape == (1, channels, 64 // stride, 96 // stride)
        for position in positions:
            low = run_until(backbone, images, position)
            before = low.clone()
            parts = run_onwards(backbone, low, position)
            assert torch.equal(low, before), f'{position}: changed in place'
            assert len(parts) == len(whole)
            for part, expected in zip(parts, whole):
                assert torch.equal(part, expected), position


@pytest.mark.parametrize('name', AT_INPUT)
def test_at_the_input(name):
    torch.manual_seed(0)
    check_steps(build_apcnn(name, refine_at='input', **AT_INPUT[name]))
    with pytest.raises(ValueError, match=r'TIMMBackbone \(.*Net.*\).*input'):
        build_apcnn(name, **AT_INPUT[name])


def test_features_in_several_tensors():
    """SelecSLS hands on all features of a stage."""
    torch.manual_seed(0)
    images = torch.randn(1, 3, 64, 64)
    backbone = build_backbone(backbone_config('selecsls42'))
    backbone.eval()
    with torch.no_grad():
        low = run_until(backbone, images, 'stem_2')
        for part, expected in zip(run_onwards(backbone, low, 'stem_2'), backbone(images)):
            assert torch.equal(part, expected)
        with pytest.raises(ValueError, match="several tensors after 'features_3'.*input"):
            run_until(backbone, images, None)


def test_strides_that_are_no_powers_of_two():
    options = dict(
        layers=(1, 1, 1, 1),
        embed_dims=(8, 16, 16, 16),
        hidden_sizes=(4, 4, 4, 4),
        out_indices=(0, 1),
    )
    backbone = build_backbone(backbone_config('sequencer2d_s', **options))
    assert refinement_positions(backbone) == ['original', 'input']


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
@pytest.mark.parametrize(
    'name, options',
    [
        ('test_efficientnet', {}),
        ('test_convnext', dict(out_indices=(1, 2, 3))),
        ('test_resnet', {}),
        ('test_resnet', dict(feature_cls='hook')),
        ('test_resnet', dict(feature_cls='getter')),
    ],
)
def test_weights_under_timms_names(name, options, suffix, tmp_path):
    torch.manual_seed(0)
    whole = timm.create_model(name).eval()
    file = str(tmp_path / f'weights.{suffix}')
    save = torch.save if suffix == 'pth' else save_file
    save(whole.state_dict(), file)
    init_cfg = dict(type='Pretrained', checkpoint=file)
    model = build_apcnn(name, init_cfg=init_cfg, refine_at='input', **options)
    model.init_weights()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = whole.forward_intermediates(
            images,
            indices=list(options.get('out_indices', (2, 3, 4))),
            intermediates_only=True,
        )
        for part, right in zip(model.eval().extract_feat(images, 'backbone'), expected):
            assert torch.equal(part, right)

    # Its own names are as before.
    again = build_apcnn(name, refine_at='input', **options)
    again.load_state_dict(model.state_dict())


def test_the_backbone_alone(tmp_path, monkeypatch):
    """The ablation's baseline has timm's weights and channels as AP-CNN does."""
    torch.manual_seed(0)
    whole = timm.create_model('test_efficientnet').eval()
    file = str(tmp_path / 'weights.pth')
    torch.save(whole.state_dict(), file)
    base = REPO / 'configs/apcnn_efficientnet_lite0_cub_224.py'
    monkeypatch.setenv('ABLATION_BASE', str(base))
    config = Config.fromfile(REPO / 'configs/ablation/plain.py').model
    config.backbone.model_name = 'test_efficientnet'
    config.backbone.init_cfg.checkpoint = file
    model = build_classifier(config).eval()
    model.init_weights()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        _, (*_, expected) = whole.forward_intermediates(images, indices=[2, 3, 4])
        assert torch.equal(model.backbone(images)[-1], expected)
        assert model(images).shape == (1, 200)


def test_weights_of_another_model(tmp_path):
    file = str(tmp_path / 'weights.pth')
    torch.save(timm.create_model('test_efficientnet').state_dict(), file)
    for name in ('test_resnet', 'tf_efficientnet_lite0'):
        model = build_apcnn(name, init_cfg=dict(type='Pretrained', checkpoint=file))
        with pytest.raises(ValueError, match=f"model_name='{name}'.*are missing"):
            model.init_weights()


def test_broken_safetensors(tmp_path):
    file = tmp_path / 'weights.safetensors'
    file.write_bytes(b'\x00' * 20)
    init_cfg = dict(type='Pretrained', checkpoint=str(file))
    with pytest.raises(ValueError, match='weights.safetensors is damaged'):
        build_apcnn('test_resnet', init_cfg=init_cfg).init_weights()


def test_download(monkeypatch):
    """With the name of a model and its tag, as timm has them."""
    create, asked = timm.create_model, []

    def download(model_name, pretrained=False, **options):
        if not pretrained:
            return create(model_name, **options)
        asked.append(model_name)
        torch.manual_seed(7)
        return create(model_name, **options)

    monkeypatch.setattr(timm, 'create_model', download)
    checkpoint = 'timm://test_resnet.r160_in1k'
    init_cfg = dict(type='Pretrained', checkpoint=checkpoint)
    model = build_apcnn('test_resnet', init_cfg=init_cfg)
    assert not asked  # a model that gets other weights needs no network
    model.init_weights()
    assert asked == ['test_resnet.r160_in1k']
    torch.manual_seed(7)
    expected = create('test_resnet').layer4.state_dict()
    layer4 = model.backbone.timm_model['layer4'].state_dict()
    assert all(torch.equal(layer4[key], x) for key, x in expected.items())

    def fail(model_name, pretrained=False, **options):
        if pretrained:
            raise FileNotFoundError('no connection')
        return create(model_name, **options)

    monkeypatch.setattr(timm, 'create_model', fail)
    with pytest.raises(URLError, match='test_resnet.r160_in1k: no connection'):
        build_apcnn('test_resnet', init_cfg=init_cfg).init_weights()


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(features_only=False), 'features_only=True'),
        (dict(checkpoint_path='weights.pth'), 'checkpoint_path.*init_cfg'),
        (dict(pretrained=True, init_cfg=dict(type='Pretrained')), 'init_cfg.*ignored'),
        (dict(out_indices=(2, 3, 5)), r'out_indices=\(2, 3, 5\)'),
        (dict(out_indices=(2, 3, 5), feature_cls='getter'), r'out_indices=\(2, 3, 5\)'),
        (dict(neck=dict(in_channels=[1, 2, 3])), r'neck.in_channels=\(1, 2, 3\)'),
        (dict(roi_generator=dict(strides=(4, 8, 16))), r'strides=\(4, 8, 16\).*32'),
        (dict(refine_at='layer3'), "'maxpool', 'layer1', 'layer2'"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        build_apcnn('test_resnet', **options)


def test_blocks_above_the_outputs():
    with pytest.raises(ValueError, match='Add 4'):
        build_apcnn('test_efficientnet', out_indices=(1, 2, 3))


def test_outputs_in_any_order():
    model = build_apcnn('test_resnet', out_indices=(-1, 2, 3))
    assert model.roi_generator.strides == (8, 16, 32)
    check_steps(model)


@pytest.mark.parametrize('name', ['test_resnet', 'test_efficientnet'])
def test_norm_eval(name):
    """Statistics are kept and used in training, the weights beside them are trained."""
    torch.manual_seed(0)
    images = torch.randn(2, 3, 64, 96)
    norms = (torch.nn.BatchNorm2d, torch.nn.BatchNorm1d)
    for kept in (True, False):
        model = build_apcnn(name, norm_eval=kept)
        for module in model.backbone.modules():
            if isinstance(module, norms):
                module.running_mean.normal_()
        for _ in range(2):  # as after a validation
            expected = model.eval().backbone(images)
            statistics = {k: v.clone() for k, v in model.backbone.named_buffers()}
            features = model.train().backbone(images)
            assert all(map(torch.equal, features, expected)) == kept
            model.backbone.load_state_dict(statistics, strict=False)
        labels = [DataSample().set_gt_label(0), DataSample().set_gt_label(1)]
        model(images, labels, mode='loss')['loss_raw'].backward()
        for key, value in model.backbone.named_buffers():
            assert torch.equal(value, statistics[key]) == kept, key
        for module in model.modules():
            if isinstance(module, norms):
                assert module.weight.grad is not None
    assert model.neck.training and model.head.training
