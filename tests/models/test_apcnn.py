import pytest
import torch
from helpers import build_model
from mmpretrain.structures import DataSample
from torch.utils.flop_counter import FlopCounterMode

from apcnn_mm.models import AttentionFPN, ROIPyramidGenerator

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
    counts = counter.get_flop_counts()['Global']
    counts.pop(torch.ops.aten.bmm, None)  # the interpolation of zoom-in
    assert sum(counts.values()) / 2e9 == pytest.approx(gmacs, rel=1e-3)


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
            joined = 2 if stage == 'both' else 1
            assert other.extract_feat(inputs)[0].shape[1] == 32 * joined
            assert 'merged_box' in other(inputs, mode='predict')[0]
    mean = (logits['raw'] + logits['refined']) / 2
    torch.testing.assert_close(logits['both'], mean)
    assert not torch.allclose(logits['raw'], logits['refined'])
    with torch.no_grad():
        torch.testing.assert_close(model(inputs, mode='tensor'), mean)


@pytest.fixture
def cascade(tiny_model):
    """Builds cascades of one model with four pictures, and that model's predictions.

    Its confidences are spread from about 0.2 to 1.
    """
    torch.manual_seed(0)
    model = tiny_model().eval()
    inputs = torch.randn(4, 3, 96, 96) * torch.tensor([0.2, 1, 3, 9]).view(4, 1, 1, 1)
    with torch.no_grad():
        model(inputs)
        for classifier in model.head.classifiers:
            classifier.fc.weight.mul_(30)
        expected = model(inputs, mode='predict')

    def build_cascade(threshold, stage='cascade'):
        cfg = dict(stage=stage)
        if stage == 'cascade':
            cfg['threshold'] = threshold
        other = tiny_model(test_cfg=cfg).eval()
        other.load_state_dict(model.state_dict())
        return other

    return build_cascade, inputs, expected


@pytest.mark.parametrize('refined', range(5))
def test_cascade(cascade, refined):
    """The images that the raw stage is surest of keep its answer; others get both."""
    build_cascade, inputs, expected = cascade
    confidence = torch.stack([sample.stage_scores[0].max() for sample in expected])
    order = confidence.argsort().tolist()
    # Between two images; not below the image of the threshold itself.
    threshold = 1.0 if refined == 4 else confidence[order[refined]].item()
    assert len(set(confidence.tolist())) == 4
    model = build_cascade(threshold)
    passes = []
    model.neck.register_forward_hook(lambda _, args, __: passes.append(len(args[0][0])))
    with torch.no_grad():
        predictions = model(inputs, mode='predict')
        logits = model(inputs)
    assert passes == ([4, refined] if refined else [4]) * 2
    for i, (sample, both) in enumerate(zip(predictions, expected)):
        scores = both.stage_scores
        if i not in order[:refined]:
            scores = scores[:1]
            torch.testing.assert_close(sample.pred_score, scores[0])
        else:
            torch.testing.assert_close(sample.pred_score, both.pred_score)
        torch.testing.assert_close(sample.stage_scores, scores)
        torch.testing.assert_close(sample.rois, both.rois)
        torch.testing.assert_close(sample.pred_score, logits[i].softmax(-1))


@pytest.mark.parametrize('threshold, stage', [(0, 'raw'), (0.0, 'raw'), (1, 'both')])
def test_a_cascade_at_its_ends(cascade, threshold, stage):
    """Also of an image with the confidence 1."""
    build_cascade, inputs, _ = cascade
    inputs = inputs.repeat(2, 1, 1, 1)
    model, other = build_cascade(threshold), build_cascade(None, stage)
    for each in (model, other):
        each.head.classifiers[0].fc.weight.data.mul_(1e4)
    with torch.no_grad():
        assert model.head(model._run_stages(inputs).pyramids).softmax(-1).max() == 1
        assert torch.equal(model(inputs), other(inputs))
        for one, two in zip(model(inputs, mode='predict'), other(inputs, mode='predict')):
            assert torch.equal(one.stage_scores, two.stage_scores)


@pytest.mark.parametrize('training', [True, False])
def test_a_cascade_has_the_losses_of_both_stages(tiny_model, training):
    model = tiny_model(test_cfg=dict(stage='cascade', threshold=0.0)).train(training)
    losses = model(torch.randn(2, 3, 64, 64), samples([0, 1]), mode='loss')
    assert losses.keys() == {'loss_raw', 'loss_refined'}


def test_predictions_without_samples(tiny_model):
    """None, and a list of None, as mmpretrain's heads take them."""
    model, images = tiny_model().eval(), torch.randn(2, 3, 64, 64)
    for given in (None, [None, None]):
        predictions = model.predict(images, given)
        assert [len(sample.pred_score) for sample in predictions] == [5, 5]


@pytest.mark.parametrize('stage', ['neck', 'pre_logits'])
def test_features_of_a_cascade(cascade, stage):
    build_cascade, inputs, _ = cascade
    with pytest.raises(RuntimeError, match='test_cfg.stage=raw'):
        build_cascade(0.5).extract_feat(inputs, stage)


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
        # Two stages of 32 channels.
        neck = model.extract_feat(inputs, 'neck')
        assert [tuple(x.shape) for x in neck] == [(2, 64, s, s) for s in (12, 6, 3)]
        # Two stages, four classifiers, 16 hidden channels.
        assert model.extract_feat(inputs, 'pre_logits').shape == (2, 2 * 4 * 16)
        model.test_stage = 'raw'
        raw = model.extract_feat(inputs, 'neck')
        for one, two in zip(raw, neck):
            assert torch.equal(one, two[:, :32])
    with pytest.raises(ValueError, match='stage'):
        model.extract_feat(inputs, 'other')


def test_a_batch_of_one_in_training(tiny_model):
    image = torch.randn(1, 3, 64, 64)
    with pytest.raises(ValueError, match='drop_last'):
        total_loss(tiny_model().train(), image, [0])
    # Where nothing is normalised over the batch, it will do.
    assert torch.isfinite(total_loss(tiny_model().eval(), image, [0]))
    free = tiny_model(**{'head.norm_cfg': None, 'neck.global_context': False})
    assert torch.isfinite(total_loss(free.train(), image, [0]))


@pytest.mark.parametrize('stage', ['raw', 'refined', 'both'])
def test_losses_are_named_after_their_stages(tiny_model, stage):
    model = tiny_model(test_cfg=dict(stage=stage)).eval()
    losses = model(torch.randn(2, 3, 64, 64), samples([0, 1]), mode='loss')
    names = ['raw', 'refined'] if stage == 'both' else [stage]
    assert list(losses) == [f'loss_{name}' for name in names]


def test_another_backbone_in_the_model(tiny_model):
    """Both stages run the backbone that the model has now."""
    torch.manual_seed(0)
    model, other = tiny_model().eval(), tiny_model().eval()
    inputs = torch.randn(2, 3, 96, 96)
    expected = tiny_model().eval()
    expected.load_state_dict(model.state_dict())
    expected.backbone.load_state_dict(other.backbone.state_dict())
    model.backbone = other.backbone
    with torch.no_grad():
        ours, theirs = model(inputs), expected(inputs)
    torch.testing.assert_close(ours, theirs)


def test_rois_are_generated_where_they_are_used(tiny_model, monkeypatch):
    model = tiny_model(test_cfg=dict(stage='raw')).eval()
    calls, generator = [], model.roi_generator
    model.roi_generator = lambda *args: calls.append(1) or generator(*args)
    inputs = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        model(inputs)
        model.extract_feat(inputs, 'pre_logits')
        model(inputs, samples([0, 1]), mode='loss')
        assert not calls
        assert 'rois' in model(inputs, mode='predict')[0]
    assert calls == [1]


def test_attention_in_the_prediction(tiny_model):
    model = tiny_model().eval()
    with torch.no_grad():
        sample, _ = model(torch.randn(2, 3, 64, 96), mode='predict')
    assert [tuple(level.shape) for level in sample.attention] == [(8, 12), (4, 6), (2, 3)]
    assert all(level.dtype is torch.float32 for level in sample.attention)
    # A prediction that is kept or saved does not hold on to its whole batch.
    for x in (*sample.attention, sample.merged_box, sample.stage_scores, sample.rois):
        assert x.untyped_storage().nbytes() == x.nbytes


def test_images_of_several_sizes_in_a_batch(tiny_model):
    model = tiny_model().eval()
    given = samples([0, 1])
    for sample, size in zip(given, ((64, 64), (64, 96))):
        sample.set_metainfo(dict(img_shape=size))
    with pytest.raises(ValueError, match=r'\(64, 64\), \(64, 96\).*batch_size=1'):
        model(torch.randn(2, 3, 64, 96), given, mode='predict')


def test_the_classes_of_the_data_preprocessor(tiny_model):
    assert tiny_model().data_preprocessor.num_classes == 5
    given = tiny_model(data_preprocessor=dict(num_classes=7))
    assert given.data_preprocessor.num_classes == 7


@pytest.mark.parametrize('stage', ['raw', 'both', 'refined'])
def test_class_activation_maps(tiny_model, stage):
    """A CAM gets the activations and gradients of one stage, or an error."""
    model = tiny_model(test_cfg=dict(stage=stage)).eval()
    activations, gradients = [], []

    def watch(_, __, output):
        activations.append(output)
        # Gradients come in the reverse order.
        output.register_hook(lambda gradient: gradients.insert(0, gradient))

    inputs = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        model(inputs)
    model.neck.fpn_convs[-1].register_forward_hook(watch)
    if stage == 'refined':
        with pytest.raises(RuntimeError, match='test_cfg.stage=raw'):
            model(inputs)
        return
    model(inputs)[0, 0].backward()
    assert len(activations) == len(gradients) == (2 if stage == 'both' else 1)


# Gate logits of this mean saturate a sigmoid of half precision.
@pytest.mark.parametrize('mean', [3.0, 6.0])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_rois_at_half_precision(dtype, mean):
    """Autocast moves few ROIs: the attention is float32, and so is its order."""
    torch.manual_seed(0)
    neck = AttentionFPN([8, 16, 32], out_channels=32)
    features = [torch.randn(8, 32, 448 // s, 448 // s) for s in (8, 16, 32)]
    generator = ROIPyramidGenerator()

    def rois():
        logits = []
        for x, gate in zip(features, neck.spatial_gates):
            logits.append(gate(x.to(dtype) if torch.is_autocast_cpu_enabled() else x))
        return generator([x.sigmoid() for x in logits], (448, 448), logits)

    with torch.no_grad():
        for gate, x in zip(neck.spatial_gates, features):
            gate.deconv.weight /= gate(x).std()
            gate.deconv.bias.fill_(mean)
        exact = rois()
        with torch.autocast('cpu', dtype=dtype):
            half = rois()
    near = (exact.boxes - half.boxes).abs().amax(dim=-1) <= 8
    assert near.float().mean() >= 0.97


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(stages='refined'), 'stages'),
        (dict(stages='raw', test_cfg=dict(stage='both')), "stages='raw'"),
        (dict(test_cfg=dict(stage='fused')), 'test_cfg.stage'),
        (dict(test_cfg=dict(stages='raw')), "'stages'"),
        (dict(test_cfg=dict(stage='cascade')), 'test_cfg.threshold.*tune_cascade.py'),
        (dict(test_cfg=dict(stage='cascade', threshold=95)), 'test_cfg.threshold'),
        (dict(test_cfg=dict(stage='both', threshold=0.5)), 'test_cfg.threshold'),
        (
            dict(stages='raw', test_cfg=dict(stage='cascade', threshold=0.5)),
            "stages='raw'",
        ),
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
    with pytest.raises((TypeError, ValueError), match=message):
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
