"""Pictures during training and testing: named, cheap, and never the end of a training."""

from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from mmengine.visualization import LocalVisBackend
from mmpretrain.registry import HOOKS, VISUALIZERS
from mmpretrain.structures import DataSample

from apcnn_mm.visualization import ROIVisualizer


@pytest.fixture
def hook(tmp_path):
    VISUALIZERS.build(dict(type='ROIVisualizer', name='visualization_hooks'))

    def build(**options):
        options = dict(enable=True, interval=1, out_dir=str(tmp_path), **options)
        return HOOKS.build(dict(type='RGBVisualizationHook', **options))

    return build


def batch(paths):
    samples = [DataSample(metainfo=dict(img_path=path)).set_pred_label(0) for path in paths]
    return dict(inputs=[torch.zeros(3, 32, 32, dtype=torch.uint8)] * len(paths)), samples


@pytest.mark.parametrize('options', [dict(enable=False), dict(interval=100)])
def test_nothing_is_done_for_nothing(options):
    """Neither where the hook is disabled nor for a batch of which none is drawn."""
    VISUALIZERS.build(dict(type='ROIVisualizer', name='disabled'))
    hook = HOOKS.build(dict(type='RGBVisualizationHook', **{'enable': True, **options}))
    untouched = Mock(spec=[])  # has nothing to be looked at
    hook._draw_samples(3, untouched, [untouched] * 16)


def test_a_batch_of_which_one_is_drawn(hook, tmp_path):
    hook = hook()
    hook.interval = 6
    for index in range(3):  # samples 0 to 11
        hook._draw_samples(index, *batch([f'a/{4 * index + i}.jpg' for i in range(4)]))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'a_0.jpg_0.png',
        'a_6.jpg_0.png',
    ]


def test_names_of_pictures(hook, tmp_path):
    """With as many folders as set them apart."""
    paths = ['/r/val/jay/1.jpg', '/r/val/owl/1.jpg', '/r/test/owl/1.jpg', '/r/a/jay/1.jpg']
    hook = hook()
    for _ in range(2):
        hook._draw_samples(0, *batch(paths))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'a_jay_1.jpg_0.png',
        'jay_1.jpg_0.png',
        'owl_1.jpg_0.png',
        'test_owl_1.jpg_0.png',
    ]


@pytest.mark.parametrize('stacked', [True, False])
def test_views_of_test_time_augmentation(hook, tmp_path, stacked):
    """However they are collated."""
    data, samples = batch(['a/1.jpg', 'a/2.jpg'])
    images = torch.stack(data['inputs']) if stacked else data['inputs']
    hook()._draw_samples(0, dict(inputs=[images, images]), samples)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_picture_does_not_end_a_training(hook, monkeypatch):
    hook = hook()
    failing = Mock(side_effect=OSError('no space left'))
    monkeypatch.setattr(hook._visualizer, 'visualize_cls', failing)
    data, samples = batch(['a/1.jpg'])
    hook.after_val_iter(SimpleNamespace(train_loop=None, iter=0, epoch=0), 0, data, samples)
    assert failing.called
    with pytest.raises(OSError):  # in a test they were asked for
        hook.after_test_iter(None, 0, data, samples)


@pytest.mark.parametrize(
    'options, error, message',
    [
        (dict(enable=1), ValueError, 'enable'),
        (dict(show='no'), ValueError, 'show'),
        (dict(interval=0), ValueError, 'interval'),
        (dict(interval=None), TypeError, 'interval'),
        (dict(waittime=2), TypeError, 'has no waittime.*wait_time'),
    ],
)
def test_mistaken_arguments(options, error, message):
    with pytest.raises(error, match=message):
        HOOKS.build(dict(type='RGBVisualizationHook', **options))


@pytest.mark.parametrize('option', ['interval', 'num_images'])
@pytest.mark.parametrize('value', [0, 1.5, None, '3'])
def test_mistaken_arguments_of_the_figure(option, value):
    with pytest.raises((TypeError, ValueError), match=option):
        HOOKS.build({'type': 'ROIVisualizationHook', option: value})


class Runner:
    """What the hook of the figures looks at, with images of different sizes."""

    val_loop, epoch = True, 0

    def __init__(self, model, visualizer, sizes=((64, 64), (64, 96))):
        self.model = model.train()
        self.visualizer = visualizer
        info = dict(ori_shape=(64, 64), img_shape=(64, 64))
        self.val_dataloader = SimpleNamespace(
            dataset=[
                dict(
                    inputs=torch.randint(256, (3, *size), dtype=torch.uint8),
                    data_samples=DataSample(metainfo=info).set_gt_label(0),
                )
                for size in sizes
            ]
        )


def test_figure_of_images_of_different_sizes(tiny_model, tmp_path):
    visualizer = ROIVisualizer(
        name='figure', vis_backends=[LocalVisBackend(str(tmp_path / 'vis'))]
    )
    runner = Runner(tiny_model(), visualizer)
    HOOKS.build(dict(type='ROIVisualizationHook', interval=1)).after_train_epoch(runner)
    assert [path.name for path in tmp_path.rglob('*.png')] == ['rois_1.png']
    assert runner.model.training


@pytest.mark.parametrize('fault', ['drawing', 'data', 'model'])
def test_a_figure_does_not_end_a_training(tiny_model, monkeypatch, fault):
    runner = Runner(tiny_model(), ROIVisualizer(name=fault))
    failing = Mock(side_effect=RuntimeError('no memory'))
    if fault == 'drawing':
        monkeypatch.setattr(runner.visualizer, 'draw_figure', failing)
    elif fault == 'data':
        runner.val_dataloader.dataset = []
    else:
        monkeypatch.setattr(runner.model, 'test_step', failing)
    HOOKS.build(dict(type='ROIVisualizationHook', interval=1)).after_train_epoch(runner)
    assert runner.model.training and (failing.called or fault == 'data')


def test_colours_of_the_figure_are_rgb():
    """A red image is drawn red."""
    visualizer = ROIVisualizer(name='colours')
    sample = DataSample(metainfo=dict(ori_shape=(64, 64), img_shape=(64, 64)))
    sample.set_pred_score(torch.tensor([1.0]))
    sample.rois, sample.roi_levels = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
    sample.merged_box = torch.tensor([0.0, 0, 64, 64])
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 255
    figure = visualizer.draw_figure([red], [sample], [[torch.rand(4, 4)]])
    assert ((figure == [255, 0, 0]).all(-1)).sum() > 1000
