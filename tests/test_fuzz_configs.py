"""Wrong values for each argument of the model are refused by name, or of use."""

import random

import pytest
import torch
from fuzzing import arguments, at, fault, mutants, mutated
from mmpretrain.registry import MODELS, TASK_UTILS
from mmpretrain.structures import DataSample

HEIGHT, WIDTH = 64, 80
IMAGES = torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
# All arguments, with right values.
CONFIG = dict(
    type='APCNN',
    backbone=dict(
        type='ResNet', depth=18, out_indices=(1, 2, 3), stem_channels=4, base_channels=4
    ),
    neck=dict(
        type='AttentionFPN',
        in_channels=[8, 16, 32],
        out_channels=16,
        spatial='gate',
        spatial_gate='deconv',
        channel='pathway',
        reduction=4,
        pathway_fusion='average',
        global_context=True,
        norm_cfg=dict(type='BN'),
        init_cfg=dict(type='Xavier', layer=['Conv2d', 'ConvTranspose2d']),
    ),
    head=dict(
        type='APCNNHead',
        num_classes=5,
        in_channels=16,
        num_levels=3,
        hidden_channels=8,
        concat_classifier=True,
        norm_cfg=dict(type='BN1d'),
        dropblock_probs=(0.3, 0.2, 0.1),
        dropblock_gain='map',
        zoom_in=True,
        loss=dict(type='CrossEntropyLoss'),
        topk=(1, 2),
        cal_acc=True,
        init_cfg=dict(type='Normal', layer='Linear', std=0.01),
    ),
    roi_generator=dict(
        type='ROIPyramidGenerator',
        strides=(8, 16, 32),
        anchor_sizes=(18, 37, 73),
        topk=(5, 3, 1),
        iou_threshold=0.05,
        border=0.1,
        center_offset=0.25,
        guidance='attention',
        selection='auto',
    ),
    stages='both',
    refine_at='conv3',
    test_cfg=dict(stage='cascade', threshold=0.5),
    channels_last=True,
    train_cfg=dict(),
    data_preprocessor=dict(type='ClsDataPreprocessor'),
    init_cfg=dict(type='Normal', layer='Conv2d', std=0.01),
)
PARTS = ('backbone', 'neck', 'head', 'roi_generator')
# mmengine looks at init_cfg when the weights are drawn.
PATHS = [(name,) for name in CONFIG if name not in ('type', 'init_cfg')] + [
    (part, name)
    for part in (*PARTS[1:], 'test_cfg')
    for name in CONFIG[part]
    if name not in ('type', 'init_cfg')
]
# Arguments that must fit one another: an error may name the other one.
GOES_WITH = dict(out_channels=['reduction'], strides=['anchor_sizes'])
# Without a type.
SETTINGS = ('test_cfg', 'train_cfg', 'data_preprocessor')


def use(model):
    """A step of training and a prediction; both are sound."""
    samples = [DataSample().set_gt_label(label) for label in (0, 1)]
    losses = model.train()(IMAGES, samples, mode='loss')
    loss = sum(value for name, value in losses.items() if 'loss' in name)
    loss.backward()
    assert torch.isfinite(loss)
    with torch.no_grad():
        predictions = model.eval()(IMAGES, mode='predict')
    for prediction in predictions:
        assert torch.isfinite(prediction.pred_score).all()
        if 'rois' in prediction:
            boxes = [*prediction.rois.tolist(), prediction.merged_box.tolist()]
            for x1, y1, x2, y2 in boxes:
                assert 0 <= x1 < x2 <= WIDTH and 0 <= y1 < y2 <= HEIGHT


def test_all_arguments_are_here():
    use(MODELS.build(CONFIG))
    for config in (CONFIG, *(CONFIG[part] for part in PARTS[1:])):
        kind = MODELS.get(config['type']) or TASK_UTILS.get(config['type'])
        assert set(arguments(kind)) <= set(config)


@pytest.mark.parametrize('path', PATHS, ids='.'.join)
def test_one_wrong_value(path):
    name, right = path[-1], at(CONFIG, path)
    found = mutants(right)
    if name in PARTS:
        found += [(CONFIG[part], False) for part in PARTS if part != name]
    torch.manual_seed(0)
    faults = {}
    for value, useful in found:
        if name == 'norm_cfg' and value == dict(type='Absent'):
            continue  # mmcv finds no layer, and does not say which
        names = [name, *GOES_WITH.get(name, ())]
        # A registry names the type, or the class the key.
        names += [value.get('type'), 'kind'] if isinstance(value, dict) else []
        config = mutated(CONFIG, path, value)
        useful = useful or (name in SETTINGS and isinstance(value, dict))
        problem = fault(MODELS.build, use, config, *filter(None, names), useful=useful)
        if problem:
            faults[repr(value)] = problem
    assert not faults


@pytest.mark.parametrize('seed', range(40))
def test_two_wrong_values(seed):
    """The error names one of them."""
    draw = random.Random(seed)
    config, names = CONFIG, []
    for path in draw.sample([path for path in PATHS if len(path) == 2], 2):
        value, _ = draw.choice(mutants(at(CONFIG, path), seed))
        names += ['Absent'] if value == dict(type='Absent') else []
        config = mutated(config, path, value)
        names += [path[-1], *GOES_WITH.get(path[-1], ())]
    torch.manual_seed(0)
    assert fault(MODELS.build, use, config, *names) is None, (names, config)


@pytest.mark.parametrize('path', PATHS, ids='.'.join)
def test_misspelt_name(path):
    name = path[-1][:-1]
    config = mutated(CONFIG, (*path[:-1], name), at(CONFIG, path))
    assert fault(MODELS.build, use, config, name, useful=False) is None


def test_pyramid_alexnet():
    config = dict(
        type='PyramidAlexNet',
        out_indices=(0, 1, 4),
        init_cfg=dict(type='Normal', layer='Conv2d', std=0.01),
    )
    kind = MODELS.get(config['type'])
    assert set(arguments(kind)) <= set(config)

    def use_backbone(backbone):
        assert len(backbone(IMAGES)) == len(backbone.out_indices)

    faults = {}
    for name in arguments(kind):
        for value, useful in mutants(config[name]):
            changed = mutated(config, (name,), value)
            problem = fault(MODELS.build, use_backbone, changed, name, useful=useful)
            if problem and value != dict(type='Absent'):
                faults[f'{name}={value!r}'] = problem
    assert not faults
