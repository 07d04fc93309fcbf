"""What is found before training, where mmengine finds it late or not at all."""

import logging
from types import SimpleNamespace
from uuid import uuid4

import pytest
import torch
from helpers import tiny_config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.optim import (
    CosineAnnealingLR,
    OptimWrapper,
    OptimWrapperDict,
    ReduceOnPlateauLR,
)
from mmengine.runner import Runner
from mmpretrain.evaluation import Accuracy, SingleLabelMetric
from mmpretrain.registry import HOOKS, MODELS

from apcnn_mm.engine import DataCheckHook
from apcnn_mm.engine.monitor_check import check_monitored
from apcnn_mm.engine.resume_check import ignored_settings


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


@pytest.mark.parametrize('split', ['train', 'val'])
def test_a_pipeline_without_original_pictures(minibirds, tmp_path, split):
    """The model would refuse the images of the validation after an epoch of training."""
    steps = [
        dict(type='AntialiasedResize', scale=64),
        dict(type='CenterCrop', crop_size=64),
    ]
    keeping = [
        dict(type='LoadImage'),
        dict(type='KeepOriginal', transforms=steps, max_size=500),
        dict(type='PackInputs', algorithm_keys=('original',)),
    ]
    pipelines = dict(train=keeping, val=keeping)
    pipelines[split] = [*keeping[:-1], dict(type='PackInputs')]
    options = {f'{k}_dataloader__dataset__pipeline': p for k, p in pipelines.items()}
    runner = build(minibirds, tmp_path, model__refine_at='original', **options)
    with pytest.raises(ValueError, match='keeps no original pictures.*algorithm_keys'):
        runner.train()
    assert runner.iter == 0


@pytest.mark.parametrize(
    'recipe, message',
    [
        (dict(batch_augments=dict(augments=dict(type='Mixup', alpha=0.2))), 'mixes inputs'),
        (dict(train_pipeline=[dict(type='PackInputs')]), 'keeps no original pictures'),
        (dict(batch_augments=None), None),
    ],
)
def test_recipes_that_lose_the_original_pictures(recipe, message):
    """Of mmpretrain's hook, which changes them in the middle of a training."""
    hook = HOOKS.build(
        dict(type='SwitchRecipeHook', schedule=[dict(action_epoch=50, **recipe)])
    )
    model = SimpleNamespace(refine_at='original')
    check = DataCheckHook._check_recipes
    if message is None:
        check(SimpleNamespace(model=model, _hooks=[hook]))
        return
    with pytest.raises(ValueError, match=message):
        check(SimpleNamespace(model=model, _hooks=[hook]))
    check(SimpleNamespace(model=SimpleNamespace(refine_at='input'), _hooks=[hook]))


def test_images_of_several_sizes(minibirds, tmp_path):
    """The model would refuse them, but after an epoch of training."""
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='ResizeEdge', scale=64),
        dict(type='PackInputs'),
    ]
    runner = build(minibirds, tmp_path, val_dataloader__dataset__pipeline=pipeline)
    with pytest.raises(ValueError, match='several sizes.*batch_size=1'):
        runner.train()
    assert runner.iter == 0


@pytest.mark.parametrize('wrapper', ['ConcatDataset', 'RepeatDataset'])
def test_pipelines_of_joined_and_repeated_data(minibirds, tmp_path, wrapper):
    """Boxes that cannot be followed are found in there as well."""
    dataset = dict(
        type='CUBWithBoxes',
        data_root=str(minibirds),
        split='test',
        pipeline=[
            dict(type='LoadImage'),
            dict(type='RandomResizedCrop', scale=64),
            dict(type='PackInputs'),
        ],
    )
    inner = dict(ConcatDataset=dict(datasets=[dataset] * 2))
    inner['RepeatDataset'] = dict(dataset=dataset, times=2)
    joined = dict(type=wrapper, _delete_=True, **inner[wrapper])
    runner = build(minibirds, tmp_path, val_dataloader__dataset=joined)
    with pytest.raises(ValueError, match='Boxes cannot be followed'):
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
    options = dict(
        load_from=str(tmp_path / 'nine.pth'), train_dataloader__dataset__indices=4
    )
    runner = build(minibirds, tmp_path, **options)
    runner.train()
    assert 'accuracy/top1' in runner.test()

    for method in ('test', 'val'):  # without training
        runner = build(minibirds, tmp_path / method, **options)
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


def test_a_longer_run_keeps_the_schedule_of_the_shorter(trained, tmp_path):
    """Epoch 6 is trained with the learning rate of the end."""
    logged = resume(trained, tmp_path, **{'train_cfg.max_epochs': 6})
    assert 'param_scheduler 2: T_max is' in logged
    assert 'load_from=CHECKPOINT without resume' in logged
    assert (tmp_path / 'epoch_6.pth').is_file()


def test_the_same_settings_are_not_mentioned(trained, tmp_path):
    logged = resume(trained, tmp_path)
    assert 'is ignored' not in logged and 'trained as another' not in logged


def test_a_finished_run(trained, tmp_path):
    """It would end at once without a word."""
    assert 'This run is finished' in resume(trained, tmp_path)
    longer = {'train_cfg.max_epochs': 6, 'train_dataloader.batch_size': 9}
    assert 'This run is finished' not in resume(trained, tmp_path, **longer)


def test_a_test_with_the_config_of_a_resumed_run(trained, tmp_path):
    """mmpretrain's test.py leaves `resume` in it; there is no optimizer to compare."""
    runner = build(
        trained.data_root, tmp_path, resume=True, load_from=str(trained.checkpoint)
    )
    assert 'accuracy/top1' in runner.test()


def states(kind=torch.optim.AdamW, schedulers=1, eta_min=0.0, step=3, groups=1, **settings):
    """What a run has after some steps."""
    parameters = [{'params': [torch.nn.Parameter(torch.zeros(1))]} for _ in range(groups)]
    optimizer = kind(parameters, **{'lr': 0.1, **settings})
    cosine = [
        CosineAnnealingLR(optimizer, T_max=9, eta_min=eta_min) for _ in range(schedulers)
    ]
    for _ in range(step):
        optimizer.step()
        for scheduler in cosine:
            scheduler.step()
    return SimpleNamespace(optim_wrapper=OptimWrapper(optimizer), param_schedulers=cosine)


def ignored(**settings):
    run = states()
    schedulers = [scheduler.state_dict() for scheduler in run.param_schedulers]
    checkpoint = dict(optimizer=run.optim_wrapper.state_dict(), param_schedulers=schedulers)
    return ignored_settings(states(step=0, **settings), checkpoint)


@pytest.mark.parametrize(
    'settings, expected',
    [
        ({}, []),
        ({'lr': 0.5}, ['initial_lr is 0.1 in the checkpoint, and 0.5 in the config']),
        ({'weight_decay': 0.3}, ['weight_decay is 0.01 in the checkpoint, and 0.3']),
        (
            {'betas': (0.8, 0.9)},
            ['betas is (0.9, 0.999) in the checkpoint, and (0.8, 0.9)'],
        ),
        ({'eta_min': 0.01}, ['param_scheduler 1: eta_min is 0.0 in']),
        # Without schedulers the learning rate stays what it was.
        ({'schedulers': 0}, ['optimizer: lr is', 'has 1 parts in the checkpoint, and 0']),
        ({'schedulers': 2}, ['has 1 parts in the checkpoint, and 2']),
    ],
)
def test_settings_that_a_resumed_run_ignores(settings, expected):
    sentences = ignored(**settings)
    assert len(sentences) == len(expected)
    for sentence, part in zip(sentences, expected):
        assert part in sentence


def test_several_optimizers():
    both = OptimWrapperDict(a=states().optim_wrapper, b=states(lr=0.5).optim_wrapper)
    other = OptimWrapperDict(a=states().optim_wrapper, b=states(lr=0.6).optim_wrapper)
    runner = SimpleNamespace(optim_wrapper=other, param_schedulers={'a': []})
    checkpoint = dict(optimizer=both.state_dict(), param_schedulers={'a': []})
    (sentence,) = ignored_settings(runner, checkpoint)
    assert sentence.startswith('b: initial_lr is 0.5')


def test_a_checkpoint_without_states():
    assert ignored_settings(states(), dict(meta={})) == []


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(kind=torch.optim.SGD, momentum=0.9), "has no .*'momentum'"),
        (dict(groups=2), 'groups the parameters otherwise'),
    ],
)
def test_resuming_with_another_optimizer(settings, message):
    with pytest.raises(ValueError, match=f'another optimizer.*{message}.*load_from'):
        ignored(**settings)


@pytest.mark.parametrize('name', ['optimizer', 'message_hub', 'param_schedulers'])
def test_resuming_from_weights_alone(trained, tmp_path, name):
    """Such as the best ones; the optimizer and the schedule would begin anew in silence."""
    checkpoint = torch.load(trained.checkpoint, weights_only=False)
    del checkpoint[name]
    torch.save(checkpoint, tmp_path / 'best.pth')
    with pytest.raises(ValueError, match=f'best.pth cannot be resumed.*no {name}'):
        resume(trained, tmp_path, tmp_path / 'best.pth')


def test_a_start_from_another_model(minibirds, tmp_path):
    """mmengine would train from scratch in silence."""
    torch.save(dict(state_dict={'backbone.x': torch.ones(2)}), tmp_path / 'other.pth')
    runner = build(minibirds, tmp_path, load_from=str(tmp_path / 'other.pth'))
    with pytest.raises(ValueError, match='No layer of load_from=.*other.pth fits'):
        runner.train()
    assert runner.iter == 0


def test_a_checkpoint_of_a_larger_model(trained, minibirds, tmp_path):
    """What it has beyond the model would be left out in silence."""
    options = dict(model__neck__channel=None, load_from=str(trained.checkpoint))
    runner = build(minibirds, tmp_path, **options)
    with pytest.raises(ValueError, match='channel_gates.* and missing in the model'):
        runner.test()


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


def test_resuming_with_other_images(trained, tmp_path):
    """Those that --holdout had left out would be trained on, and calibrated with."""
    with pytest.raises(ValueError, match='18 images, but now .* has 10, .*--holdout'):
        resume(trained, tmp_path, **{'train_dataloader.dataset.indices': 10})
