import pytest
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample

from apcnn_mm.models import APCNNHead, AttentionPyramid, ROIPyramid


def pyramid(n=4, channels=8, levels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    maps = [
        tuple(
            torch.randn(n, channels, s, s, generator=generator) for s in (8, 4, 2)[:levels]
        )
        for _ in range(2)
    ]
    return AttentionPyramid(features=maps[0], spatial=None, attended=maps[1])


def both_stages():
    return dict(raw=pyramid(seed=0), refined=pyramid(seed=1))


def head(**options):
    torch.manual_seed(0)
    return APCNNHead(
        **{'num_classes': 5, 'in_channels': 8, 'hidden_channels': 6, **options}
    )


def test_classify_and_fuse():
    module, stages = head().eval(), both_stages()
    raw, refined = (module.classify(stage) for stage in stages.values())
    assert raw.shape == (4, 4, 5)
    torch.testing.assert_close(module(stages), (raw.mean(0) + refined.mean(0)) / 2)


def test_loss_is_the_sum_of_eight_cross_entropies():
    module, stages = head().eval(), both_stages()
    labels = [0, 3, 2, 4]
    samples = [DataSample().set_gt_label(label) for label in labels]
    losses = module.loss(stages, samples)
    for name, stage in stages.items():
        logits = module.classify(stage)
        expected = sum(F.cross_entropy(x, torch.tensor(labels)) for x in logits)
        torch.testing.assert_close(losses[f'loss_{name}'], expected)
    assert set(losses) == {'loss_raw', 'loss_refined'}
    assert 'accuracy_top-1' in head(cal_acc=True).loss(stages, samples)


def test_soft_labels():
    """mmpretrain's Mixup and CutMix give scores instead of labels."""
    module = head(loss=dict(type='CrossEntropyLoss', use_soft=True)).eval()
    stages = dict(raw=pyramid())
    scores = torch.rand(4, 5).softmax(1)
    samples = [DataSample().set_gt_score(score) for score in scores]
    logits = module.classify(stages['raw'])
    expected = sum(F.cross_entropy(x, scores) for x in logits)
    torch.testing.assert_close(module.loss(stages, samples)['loss_raw'], expected)


def test_binary_cross_entropy():
    """Of a score for each class; labels are refused."""
    module = head(loss=dict(type='CrossEntropyLoss', use_sigmoid=True)).eval()
    labels = torch.tensor([0, 3, 2, 4])
    scores = F.one_hot(labels, 5).float()
    samples = [DataSample().set_gt_score(score) for score in scores]
    expected = sum(
        F.binary_cross_entropy_with_logits(logits, scores, reduction='sum') / 4
        for logits in module.classify(pyramid())
    )
    losses = module.loss(dict(raw=pyramid()), samples)
    torch.testing.assert_close(losses['loss_raw'], expected)
    samples = [DataSample().set_gt_label(label) for label in labels]
    with pytest.raises(ValueError, match='needs a score for each class.*to_onehot'):
        module.loss(dict(raw=pyramid()), samples)
    # Others make scores of labels themselves.
    head(loss=dict(type='AsymmetricLoss')).loss(dict(raw=pyramid()), samples)


@pytest.mark.parametrize(
    'options, classifiers',
    [({}, 4), (dict(concat_classifier=False), 3), (dict(norm_cfg=None), 4)],
)
def test_variants(options, classifiers):
    module = head(**options)
    assert module.classify(pyramid()).shape == (classifiers, 4, 5)
    module.classify(pyramid()).sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_two_levels():
    module = head(num_levels=2, dropblock_probs=(0.3, 0.3))
    assert module.classify(pyramid(levels=2)).shape == (3, 4, 5)


def test_predict_keeps_the_protocol():
    module, stages = head().eval(), dict(raw=pyramid())
    predictions = module.predict(stages)
    expected = module(stages).softmax(1)
    for prediction, score in zip(predictions, expected):
        torch.testing.assert_close(prediction.pred_score, score)
        assert prediction.pred_label.tolist() == [int(score.argmax())]
    assert module.pre_logits(stages).shape == (4, 4 * 6)


@pytest.mark.parametrize(
    'options',
    [
        dict(num_classes=0),
        dict(num_classes=1),
        dict(num_classes=2.0),
        dict(num_classes='5'),
        dict(hidden_channels=None),
        dict(norm_cfg='BN1d'),
        dict(zoom_in='False'),
        dict(concat_classifier=1),
        dict(dropblock_probs=(0.3, float('nan'), 0.0)),
        dict(dropblock_probs=(0.3, 0.3)),
        dict(dropblock_probs=(0.6, 0.6, 0.0)),
        dict(dropblock_probs=(-0.1, 0.3, 0.0)),
        dict(dropblock_gain='none'),
    ],
)
def test_bad_arguments(options):
    (name,) = options
    with pytest.raises((TypeError, ValueError), match=f'head.{name}'):
        head(**options)


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('zoom_in', [True, False])
@pytest.mark.parametrize('dropblock', [True, False])
def test_refinement_components(training, zoom_in, dropblock):
    """Table 4. Dropblock is for training alone."""
    x = torch.rand(2, 3, 16, 16) + 1
    boxes = torch.tensor([[[16.0, 16, 48, 48], [64, 64, 112, 112]]]).expand(2, -1, -1)
    rois = ROIPyramid(
        boxes=boxes,
        scores=torch.ones(2, 2),
        valid=torch.ones(2, 2, dtype=torch.bool),
        levels=torch.zeros(2, dtype=torch.long),
        merged_box=torch.tensor([[16.0, 16, 112, 112]] * 2),
        image_size=(128, 128),
    )
    probs = (1.0, 0.0, 0.0) if dropblock else (0.0, 0.0, 0.0)
    module = head(dropblock_probs=probs, zoom_in=zoom_in).train(training)
    refined = module.refine(x, rois)
    assert bool((refined == 0).any()) == (dropblock and training)
    if not zoom_in and not (dropblock and training):
        assert torch.equal(refined, x)
    if zoom_in:
        assert not torch.equal(refined, x)
