"""Trainings that would end early, train nothing, or keep nothing."""

import argparse
from uuid import uuid4

import pytest
from helpers import tiny_config
from mmengine.config import DictAction
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from apcnn_mm.engine.loop_check import check_batches, unmatched_keys


@pytest.fixture
def build(minibirds, tmp_path):
    def build(replaced=(), options=(), **tiny):
        cfg = tiny_config(minibirds, tmp_path, **tiny)
        cfg.experiment_name = uuid4().hex
        for name, value in dict(replaced).items():
            cfg[name] = value
        cfg.merge_from_dict(dict(options))
        return Runner.from_cfg(cfg)

    return build


SCHEDULE = [dict(type='CosineAnnealingLR', convert_to_iter_based=True)]


def test_too_few_images_for_a_batch(build):
    """mmengine would train on nothing, or fail to convert the schedule."""
    runner = build(train_dataloader__batch_size=50, param_scheduler=[])
    with pytest.raises(ValueError, match='18 images, .* do not fill a batch of 50'):
        runner.train()
    runner = build(train_dataloader__batch_size=50, param_scheduler=SCHEDULE)
    with pytest.raises(ValueError, match='18 images, .* do not fill a batch of 50'):
        check_batches(runner.train_loop.dataloader, runner.model)


@pytest.mark.parametrize('images, batch', [(5, 4), (3, 1)])
def test_a_last_batch_of_one_image(build, images, batch):
    """It would end an epoch of hours."""
    options = dict(
        train_dataloader__batch_size=batch, train_dataloader__dataset__indices=images
    )
    runner = build(train_dataloader__drop_last=False, **options)
    with pytest.raises(ValueError, match='a single image.*drop_last=True'):
        runner.train()
    assert runner.iter == 0


def test_endless_images(build):
    """They always fill a batch, but they never end an epoch."""
    options = dict(
        train_dataloader__batch_size=20, train_dataloader__sampler__type='InfiniteSampler'
    )
    runner = build(dict(param_scheduler=[]), **options)
    with pytest.raises(ValueError, match='an epoch has no end'):
        runner.train()
    schedule = [dict(type='CosineAnnealingLR', by_epoch=False)]
    saving = dict(type='CheckpointHook', by_epoch=False, interval=2)
    runner = build(
        dict(train_cfg=ITERATIONS, param_scheduler=schedule),
        **options,
        default_hooks__checkpoint=saving,
    )
    runner.train()
    assert runner.iter == 4


def test_batches_of_ones_own():
    """By a sampler that makes them."""
    check_batches(DataLoader(range(3), batch_sampler=[[0], [1, 2]]), nn.Identity())


ITERATIONS = dict(type='IterBasedTrainLoop', max_iters=4, val_interval=2)
BY_ITERATIONS = dict(type='CosineAnnealingLR', by_epoch=False)


@pytest.mark.parametrize(
    'schedule',
    [
        SCHEDULE,
        dict(type='CosineAnnealingLR'),
        [BY_ITERATIONS, dict(type='CosineAnnealingLR', T_max=3)],
    ],
)
def test_schedules_by_epochs_where_there_are_none(build, schedule):
    """The learning rate would stay where it is, or reach its end too early."""
    runner = build(
        dict(train_cfg=ITERATIONS, param_scheduler=schedule),
        default_hooks__checkpoint=dict(by_epoch=False, interval=2),
    )
    with pytest.raises(ValueError, match='param_scheduler counts epochs'):
        runner.train()


@pytest.mark.parametrize(
    'schedule', [BY_ITERATIONS, dict(type='ReduceOnPlateauLR', monitor='accuracy/top1')]
)
def test_iterations(build, tmp_path, schedule):
    """Checkpoints by epochs would be one, at the end; the way out saves them."""
    replaced = dict(train_cfg=ITERATIONS, param_scheduler=[schedule])
    with pytest.raises(ValueError, match='there would be one, at the end') as raised:
        build(replaced).train()
    assert not list(tmp_path.glob('*.pth'))
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    words = str(raised.value).split(' Set ')[1].split()
    build(replaced, parser.parse_args(words).cfg_options).train()
    names = {path.name for path in tmp_path.glob('iter_*.pth')}
    assert names == {'iter_2.pth', 'iter_4.pth'}


def test_only_the_best_checkpoint(build, tmp_path):
    """Which is saved at the validations."""
    replaced = dict(train_cfg=ITERATIONS, param_scheduler=[BY_ITERATIONS])
    build(replaced, {'default_hooks.checkpoint.interval': -1}).train()
    assert list(tmp_path.glob('best_*.pth'))


def test_learning_rates_of_no_layer(build):
    keys = {'backbone': dict(lr_mult=0.1), 'bakcbone': dict(lr_mult=0.1)}
    runner = build(optim_wrapper__paramwise_cfg=dict(custom_keys=keys))
    assert unmatched_keys(runner) == ['bakcbone']
    assert unmatched_keys(build()) == []
