from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmpretrain.registry import HOOKS
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def test_figures_during_training(trained):
    """The runs of the tests have five epochs, with a figure at the last one."""
    (figure,) = trained.work_dir.glob('*/vis_data/vis_image/rois_*.png')
    assert figure.name == 'rois_5.png'
    assert np.asarray(Image.open(figure)).std() > 10


def test_pictures_have_the_right_colours(tmp_path):
    from mmpretrain.registry import VISUALIZERS

    VISUALIZERS.build(dict(type='ROIVisualizer', name='hook'))
    hook = HOOKS.build(
        dict(type='RGBVisualizationHook', enable=True, interval=1, out_dir=str(tmp_path))
    )
    red = torch.zeros(3, 64, 64, dtype=torch.uint8)
    red[2] = 255  # BGR
    sample = DataSample(metainfo=dict(img_path='robin/1.jpg')).set_pred_label(0)
    hook._draw_samples(0, dict(inputs=[red]), [sample])
    picture = np.asarray(Image.open(tmp_path / 'robin_1.jpg_0.png').convert('RGB'))
    assert np.abs(picture[-5, -5].astype(int) - [255, 0, 0]).max() < 10


class FakeRunner:
    """A runner that has what DataCheckHook looks at."""

    _resume, _hooks, param_schedulers = False, (), None
    train_loop = SimpleNamespace(epoch=0, max_epochs=1)

    def __init__(self, head_classes, train, val):
        def loader(classes):
            dataset = ConfigDict(metainfo=dict(classes=classes), data_root='data/birds')
            return ConfigDict(dataset=dataset, batch_size=16)

        self.model = nn.Module()
        self.model.head = SimpleNamespace(num_classes=head_classes)
        self.cfg = {}
        self.train_dataloader, self.val_dataloader = loader(train), loader(val)
        self.val_loop, self.val_evaluator = True, ConfigDict(metrics=[])


@pytest.mark.parametrize(
    'head_classes, train, val, message',
    [
        (2, ('jay', 'wren'), ('jay', 'wren'), None),
        (3, ('jay', 'wren'), ('jay', 'wren'), 'num_classes=2'),
        (2, ('jay', 'wren'), ('jay', 'wren', 'owl'), 'num_classes=3'),
        (2, ('jay', 'wren'), ('wren', 'jay'), 'wren, jay'),
        (None, None, None, None),
    ],
)
def test_class_check(head_classes, train, val, message):
    hook = HOOKS.build(dict(type='DataCheckHook'))
    runner = FakeRunner(head_classes, train, val)
    if message is None:
        hook.before_train(runner)
    else:
        with pytest.raises(ValueError, match=message):
            hook.before_train(runner)


def test_a_checkpoint_of_another_model(tiny_model):
    hook = HOOKS.build(dict(type='DataCheckHook'))
    runner = FakeRunner(5, None, None)
    runner.model = tiny_model()
    runner.test_dataloader, runner.test_evaluator = runner.val_dataloader, None
    runner._load_from = 'other.pth'
    hook.after_load_checkpoint(runner, dict(state_dict=runner.model.state_dict()))
    hook.before_test(runner)
    other = tiny_model(**{'head.hidden_channels': 8})
    hook.after_load_checkpoint(runner, dict(state_dict=other.state_dict()))
    with pytest.raises(ValueError, match='(?s)other.pth is not.*head.level_classifiers'):
        hook.before_test(runner)


@pytest.mark.parametrize('content', [[1, 2], {}, {'model': 1}, {'state_dict': {}}])
def test_a_file_without_a_model(content):
    runner = FakeRunner(5, None, None)
    runner._load_from = 'no_model.pth'
    with pytest.raises(ValueError, match='no_model.pth holds no weights'):
        HOOKS.build(dict(type='DataCheckHook')).after_load_checkpoint(runner, content)


def test_figures_need_our_visualizer(tiny_model):
    hook = HOOKS.build(dict(type='ROIVisualizationHook', interval=1))
    runner = FakeRunner(5, None, None)
    runner.model, runner.epoch = tiny_model(), 0
    runner.visualizer = UniversalVisualizer.get_instance('plain')
    hook.after_train_epoch(runner)


def test_too_few_images_for_a_batch():
    hook = HOOKS.build(dict(type='DataCheckHook'))
    runner = FakeRunner(2, ('jay', 'wren'), ('jay', 'wren'))
    runner.train_dataloader = DataLoader(
        TensorDataset(torch.zeros(5, 1)), batch_size=16, drop_last=True
    )
    with pytest.raises(ValueError, match='has 5 images.*batch of 16.*batch_size'):
        hook.before_train(runner)
