import pytest
import torch
from helpers import build_model
from mmpretrain.structures import DataSample
from torch.utils.flop_counter import FlopCounterMode

EVIDENCE = ('rois', 'roi_levels', 'roi_scores', 'merged_box')


def samples(labels):
    return [DataSample().set_gt_label(label) for label in labels]


def total_loss(model, inputs, labels):
    losses = model(inputs, samples(labels), mode='loss')
    return sum(value for name, value in losses.items() if 'loss' in name)


@pytest.mark.parametrize(
    'num_classes, hidden_channels, parameters',
    [(200, 512, 27_959_955), (100, 256, 27_256_067), (196, 256, 27_354_755)],
)
def test_number_of_parameters(num_classes, hidden_channels, parameters):
    model = build_model(
        'apcnn_r50_cub.py',
        **{'head.num_classes': num_classes, 'head.hidden_channels': hidden_channels},
    )
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize('stages, gmacs', [('raw', 19.51), ('both', 31.76)])
def test_multiply_adds(stages, gmacs):
    """Convolutions and linear layers at 448 x 448, counted as they run."""
    model = build_model('apcnn_r50_cub.py', stages=stages).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.rand(1, 3, 448, 448), mode='tensor')
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=1e-3)


@pytest.mark.parametrize('size', [(64, 64), (64, 150), (97, 65), (129, 200), (128, 128)])
def test_any_input_size(tiny_model, size):
    torch.manual_seed(0)
    model = tiny_model()
    loss = total_loss(model.train(), torch.randn(2, 3, *size), [0, 1])
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    with torch.no_grad():
        assert torch.isfinite(model.eval()(torch.randn(1, 3, *size), mode='tensor')).all()


@pytest.mark.parametrize('bias', [-200.0, 200.0, None])
def test_saturated_or_constant_attention(tiny_model, bias):
    """Attention that is 0, 1 or 0.5 everywhere gives no NaN and leaves no parameter out."""
    torch.manual_seed(0)
    model = tiny_model(**{'head.dropblock_probs': (0.4, 0.3, 0.3)}).train()
    for gate in model.neck.spatial_gates:
        torch.nn.init.zeros_(gate.deconv.weight)
        torch.nn.init.constant_(gate.deconv.bias, bias or 0)
    for _ in range(3):
        model.zero_grad()
        total_loss(model, torch.randn(4, 3, 96, 96), [0, 1, 2, 3]).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


def test_batch_equals_singles(tiny_model):
    torch.manual_seed(0)
    model = tiny_model().eval()
    inputs = torch.randn(5, 3, 120, 96)
    with torch.no_grad():
        batch = model(inputs, mode='predict')
        for image, expected in zip(inputs, batch):
            (single,) = model(image[None], mode='predict')
            for name in ('pred_score', *EVIDENCE):
                ours, theirs = single.get(name), expected.get(name)
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_predict_tells_the_evidence(tiny_model):
    torch.manual_seed(0)
    model = tiny_model().eval()
    given = samples([3, 4])
    with torch.no_grad():
        predictions = model(torch.randn(2, 3, 96, 128), given, mode='predict')
    for sample, prediction in zip(given, predictions):
        assert prediction is sample and prediction.gt_label is not None
        k = len(prediction.rois)
        assert 1 <= k <= 9 and prediction.rois.shape == (k, 4)
        assert prediction.roi_levels.shape == prediction.roi_scores.shape == (k,)
        assert set(prediction.roi_levels.tolist()) <= {0, 1, 2}
        assert prediction.pred_score.shape == (5,)
        assert prediction.pred_score.sum() == pytest.approx(1, abs=1e-5)
        x1, y1, x2, y2 = prediction.merged_box.tolist()
        assert [x1, y1] == prediction.rois[:, :2].amin(0).tolist()
        assert [x2, y2] == prediction.rois[:, 2:].amax(0).tolist()
        assert 0 <= x1 < x2 <= 127 and 0 <= y1 < y2 <= 95


def test_test_stage(tiny_model):
    torch.manual_seed(0)
    model = tiny_model().eval()
    inputs = torch.randn(3, 3, 96, 96)
    logits = {}
    for stage in ('raw', 'refined', 'both'):
        other = tiny_model(test_cfg=dict(stage=stage)).eval()
        other.load_state_dict(model.state_dict())
        with torch.no_grad():
            logits[stage] = other(inputs, mode='tensor')
            assert len(other.extract_feat(inputs)) == (2 if stage == 'both' else 1)
            assert 'merged_box' in other(inputs, mode='predict')[0]
    mean = (logits['raw'] + logits['refined']) / 2
    torch.testing.assert_close(logits['both'], mean)
    assert not torch.allclose(logits['raw'], logits['refined'])
    with torch.no_grad():
        torch.testing.assert_close(model(inputs, mode='tensor'), mean)


def test_raw_skips_the_second_pass(tiny_model):
    calls = []
    model = tiny_model(test_cfg=dict(stage='raw')).eval()
    model.neck.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        model(torch.randn(1, 3, 64, 64), mode='predict')
    assert len(calls) == 1


def test_one_stage_model(tiny_model):
    torch.manual_seed(0)
    one, two = tiny_model(stages='raw'), tiny_model()
    one.load_state_dict(two.state_dict())
    inputs = torch.randn(2, 3, 96, 96)
    losses = one.train()(inputs, samples([0, 1]), mode='loss')
    assert set(losses) == {'loss_raw'}
    losses['loss_raw'].backward()
    assert all(p.grad is not None for p in one.parameters())
    with torch.no_grad():
        (prediction, _) = one.eval()(inputs, mode='predict')
    assert 'rois' in prediction  # what it looked at, although it has no use for it
    # Neither spatial attention nor a generator is needed.
    bare = tiny_model(stages='raw', roi_generator=None, **{'neck.spatial': None})
    with torch.no_grad():
        assert 'rois' not in bare.eval()(inputs, mode='predict')[0]


def test_refined_gradient_reaches_conv1(tiny_model):
    """Stage two back-propagates into conv1 to conv3 through the crop."""
    torch.manual_seed(0)
    model = tiny_model().train()
    losses = model(torch.randn(2, 3, 96, 96), samples([0, 1]), mode='loss')
    losses['loss_refined'].backward()
    assert model.backbone.conv1.weight.grad.abs().sum() > 0


def test_extract_feat(tiny_model):
    model = tiny_model().eval()
    inputs = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert [x.shape[1] for x in model.extract_feat(inputs, 'backbone')] == [16, 32, 64]
        raw, refined = model.extract_feat(inputs, 'neck')
        assert raw.spatial[0].shape == (2, 1, 12, 12)
        # Two stages, four classifiers, 16 hidden channels.
        assert model.extract_feat(inputs, 'pre_logits').shape == (2, 2 * 4 * 16)
        torch.testing.assert_close(model.head((raw, refined)), model(inputs, mode='tensor'))
    with pytest.raises(ValueError, match='stage'):
        model.extract_feat(inputs, 'other')


def test_a_batch_of_one_in_training(tiny_model):
    with pytest.raises(ValueError, match='drop_last'):
        total_loss(tiny_model().train(), torch.randn(1, 3, 64, 64), [0])


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(stages='refined'), 'stages'),
        (dict(stages='raw', test_cfg=dict(stage='both')), "stages='raw'"),
        (dict(test_cfg=dict(stage='fused')), 'test_cfg.stage'),
        (dict(test_cfg=dict(stages='raw')), "'stages'"),
        (dict(stages='raw', refine_at='conv1'), 'refine_at'),
        ({'neck.out_channels': 16}, 'head.in_channels=32'),
        (
            {'head.num_levels': 2, 'head.dropblock_probs': (0.3, 0.3)},
            "'head.num_levels': 2",
        ),
        (dict(roi_generator=None), 'roi_generator'),
        ({'neck.spatial': None}, 'spatial'),
        (dict(refine_at='conv4'), 'conv3'),
        (dict(refine_at='layer2'), 'conv3'),
        ({'backbone.out_indices': (0, 1, 2)}, 'out_indices'),
    ],
)
def test_mistakes(tiny_model, options, message):
    with pytest.raises(ValueError, match=message):
        tiny_model(**options)


def test_backbone_and_neck_do_not_fit(tiny_model):
    model = tiny_model(**{'neck.in_channels': [16, 32, 128]})
    with pytest.raises(ValueError, match='in_channels'):
        model(torch.randn(1, 3, 64, 64), mode='tensor')


@pytest.mark.gpu
def test_amp_on_gpu(tiny_model):
    torch.manual_seed(0)
    model = tiny_model().cuda().train()
    with torch.autocast('cuda'):
        loss = total_loss(model, torch.randn(4, 3, 96, 96).cuda(), [0, 1, 2, 3])
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize('training', [True, False])
def test_bfloat16(tiny_model, training):
    torch.manual_seed(0)
    model = tiny_model().train(training)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        if training:
            total_loss(model, torch.randn(4, 3, 96, 96), [0, 1, 2, 3]).backward()
            assert all(torch.isfinite(p.grad).all() for p in model.parameters())
        else:
            (sample,) = model(torch.randn(1, 3, 96, 96), mode='predict')
            assert torch.isfinite(sample.pred_score).all()
