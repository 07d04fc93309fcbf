"""What is found before training, where mmengine finds it late or not at all."""

import logging
from types import SimpleNamespace
from uuid import uuid4

import pytest
import torch
from helpers import tiny_config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.optim import ReduceOnPlateauLR
from mmengine.runner import Runner
from mmpretrain.evaluation import Accuracy, SingleLabelMetric
from mmpretrain.registry import MODELS

from apcnn_mm.engine.monitor_check import check_monitored


class Own(BaseMetric):
    def process(self, data_batch, data_samples):
        pass

    def compute_metrics(self, results):
        pass


def monitor(save_best, *metrics, **other):
    hooks = [CheckpointHook(save_best=save_best, rule='greater')]
    runner = SimpleNamespace(_hooks=hooks, param_schedulers=None)
    runner.val_evaluator = SimpleNamespace(metrics=metrics)
    vars(runner).update(other)
    check_monitored(runner)


@pytest.mark.parametrize(
    'save_best, metric',
    [
        ('accuracy/top1', Accuracy()),
        ('accuracy/top5', Accuracy(topk=(1, 5))),
        ('mine/top1', Accuracy(prefix='mine')),
        ('accuracy/top1_thr-0.50', Accuracy(thrs=(0.5, None))),
        ('single-label/f1-score', SingleLabelMetric()),
        ('anything', Own()),
        ('auto', SingleLabelMetric()),
        (None, SingleLabelMetric()),
        (['single-label/recall', 'single-label/precision'], SingleLabelMetric()),
    ],
)
def test_metrics_that_may_be_reported(save_best, metric):
    monitor(save_best, metric)


@pytest.mark.parametrize(
    'metric, reported',
    [
        (SingleLabelMetric(), r'single-label/\.\.\.'),
        (Accuracy(topk=(5,)), 'accuracy/top5'),
        (Accuracy(prefix='mine'), 'mine/top1'),
        (Own(prefix='own'), r'own/\.\.\.'),
    ],
)
def test_metrics_that_nobody_reports(metric, reported):
    with pytest.raises(ValueError, match=f'save_best is .accuracy/top1.*{reported}'):
        monitor('accuracy/top1', metric)
    hook = EarlyStoppingHook(monitor='accuracy/top1', rule='greater')
    with pytest.raises(ValueError, match='EarlyStoppingHook.*accuracy/top1'):
        monitor(None, metric, _hooks=[hook])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = ReduceOnPlateauLR(optimizer, monitor='accuracy/top1', rule='greater')
    with pytest.raises(ValueError, match='ReduceOnPlateauLR.*accuracy/top1'):
        monitor(None, metric, param_schedulers=[scheduler])


def build(minibirds, work_dir, **options):
    cfg = tiny_config(minibirds, work_dir, **options)
    cfg.experiment_name = uuid4().hex  # runners of a process share what has the same name
    return Runner.from_cfg(cfg)


@pytest.mark.parametrize(
    'evaluator, message',
    [
        ([dict(type='SingleLabelMetric')], 'save_best'),
        ([dict(type='Accuracy', topk=(1, 9))], 'has only 6 classes'),
    ],
)
def test_a_changed_evaluator(minibirds, tmp_path, evaluator, message):
    runner = build(minibirds, tmp_path, val_evaluator=evaluator)
    with pytest.raises(ValueError, match=message):
        runner.train()
    assert runner.iter == 0


def test_own_hooks_leave_the_package_its_own(minibirds, tmp_path):
    runner = build(minibirds, tmp_path, custom_hooks=[dict(type='EMAHook')])
    names = {type(hook).__name__ for hook in runner.hooks}
    assert names >= {'EMAHook', 'DataCheckHook', 'EpochSeedHook', 'ROIVisualizationHook'}


def test_testing_after_fine_tuning(minibirds, tmp_path):
    """From a checkpoint with other classes, in one Runner."""
    cfg = tiny_config(minibirds, tmp_path)
    cfg.model.head.num_classes = 9
    meta = dict(dataset_meta=dict(classes=tuple('abcdefghi')))
    nine = dict(state_dict=MODELS.build(cfg.model).state_dict(), meta=meta)
    torch.save(nine, tmp_path / 'nine.pth')
    options = dict(load_from=str(tmp_path / 'nine.pth'), train_dataloader__dataset__indices=4)
    runner = build(minibirds, tmp_path, **options)
    runner.train()
    assert 'accuracy/top1' in runner.test()

    for method in ('test', 'val'):  # without training
        runner = build(minibirds, tmp_path, **options)
        with pytest.raises(ValueError, match='nine.pth is not one of the model'):
            getattr(runner, method)()


def resume(trained, tmp_path, checkpoint=None, **options):
    """Resume a run that has nothing left to train; what is logged."""
    options = {
        'resume': True,
        'load_from': str(checkpoint or trained.checkpoint),
        'train_cfg.max_epochs': 5,
        **options,
    }
    runner = build(trained.data_root, tmp_path, **options)
    records = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: records.append(record.getMessage())
    runner.logger.addHandler(handler)
    runner.train()
    return '\n'.join(records)


@pytest.mark.parametrize(
    'options, ignored',
    [
        ({}, []),
        ({'train_dataloader.batch_size': 4}, []),
        ({'optim_wrapper.optimizer.lr': 0.5}, ['initial_lr is 0.001', '0.5 in the config']),
        ({'optim_wrapper.optimizer.weight_decay': 0.1}, ['weight_decay is 0.05', '0.1 in']),
        ({'param_scheduler.1.eta_min': 1e-5}, ['param_scheduler 2: eta_min is 0', '1e-05 in']),
        ({'param_scheduler': None}, []),
        # Epoch 6 would be trained with the learning rate of the end.
        ({'train_cfg.max_epochs': 6}, ['param_scheduler 2: T_max is']),
        ({'param_scheduler': [dict(type='LinearLR', end=9)]}, ['param_scheduler has 2 parts']),
        ({'default_hooks.epoch_seed.type': 'EpochSeedHook'}, []),
    ],
)
def test_settings_that_a_resumed_run_ignores(trained, tmp_path, options, ignored):
    logged = resume(trained, tmp_path, **options)
    for text in ignored:
        assert text in logged
    assert ('Of the config this is ignored' in logged) == bool(ignored)
    assert not ignored or 'load_from=CHECKPOINT without resume' in logged


def test_resuming_with_another_optimizer(trained, tmp_path):
    sgd = dict(type='SGD', lr=0.1, momentum=0.9)
    options = {'optim_wrapper.optimizer': dict(_delete_=True, **sgd)}
    with pytest.raises(ValueError, match="another optimizer.*'momentum'"):
        resume(trained, tmp_path, **options)


@pytest.mark.parametrize('change', ['order', 'set', 'layers'])
def test_resuming_with_other_classes(trained, tmp_path, change):
    checkpoint = torch.load(trained.checkpoint, weights_only=False)
    meta = checkpoint['meta']['dataset_meta']
    options = {}
    if change == 'order':
        meta['classes'] = meta['classes'][::-1]
    elif change == 'set':
        meta['classes'] = meta['classes'][:5]
    else:
        options = {'model.head.hidden_channels': 8}
    torch.save(checkpoint, tmp_path / 'other.pth')
    message = 'not one of the model' if options else 'not those of the checkpoint to resume'
    with pytest.raises(ValueError, match=message):
        resume(trained, tmp_path, tmp_path / 'other.pth', **options)
