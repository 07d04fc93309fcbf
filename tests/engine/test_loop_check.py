"""Trainings that would end early, train nothing, or keep nothing."""

from uuid import uuid4

import pytest
from helpers import tiny_config
from mmengine.runner import Runner

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
    if batch > 1:  # which an endless sampler always fills
        options['train_dataloader__sampler__type'] = 'InfiniteSampler'
        runner = build(train_dataloader__drop_last=False, **options)
        check_batches(runner.train_loop.dataloader, runner.model)


ITERATIONS = dict(type='IterBasedTrainLoop', max_iters=6, val_interval=3)


@pytest.mark.parametrize(
    'schedule, way_out',
    [
        (SCHEDULE, 'param_scheduler.0.convert_to_iter_based=False'),
        (dict(type='CosineAnnealingLR'), 'param_scheduler.by_epoch=False'),
        ([dict(type='CosineAnnealingLR', by_epoch=False)], 'checkpoint.by_epoch=False'),
    ],
)
def test_iterations_without_epochs(build, tmp_path, schedule, way_out):
    """There is no checkpoint, and no schedule, until the way out is taken."""
    replaced = dict(train_cfg=ITERATIONS, param_scheduler=schedule)
    with pytest.raises(ValueError, match=way_out) as raised:
        build(replaced).train()
    said = str(raised.value).split('--cfg-options ')[1].split()
    options = dict(option.split('=') for option in said)
    interval = int(options.pop('default_hooks.checkpoint.interval'))
    options = dict.fromkeys(options, False)
    runner = build(replaced, {**options, 'default_hooks.checkpoint.interval': interval})
    runner.train()
    names = {path.name for path in tmp_path.glob('iter_*.pth')}
    assert names == {'iter_3.pth', 'iter_6.pth'}
    assert runner.optim_wrapper.get_lr()['lr'][0] < 1e-4


def test_learning_rates_of_no_layer(build):
    keys = {'backbone': dict(lr_mult=0.1), 'bakcbone': dict(lr_mult=0.1)}
    runner = build(optim_wrapper__paramwise_cfg=dict(custom_keys=keys))
    assert unmatched_keys(runner) == ['bakcbone']
    assert unmatched_keys(build()) == []
