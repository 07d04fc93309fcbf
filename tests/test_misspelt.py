"""One sentence for a setting that mmengine passes over in silence."""

import sys

import pytest
import torch
from helpers import MINIBIRDS_CONFIG, REPO
from mmengine.config import Config

from apcnn_mm import misspelt
from apcnn_mm.launch import load_config
from apcnn_mm.misspelt import check_optimizer, find_misspelt
from tools import check_dataset, train


@pytest.mark.parametrize('path', sorted((REPO / 'configs').rglob('[!_]*.py'), key=str))
def test_our_configs_have_none(path):
    assert find_misspelt(Config.fromfile(path)) == []


@pytest.mark.parametrize(
    'option, meant',
    [
        ('default_hooks.checkpont.interval', 'default_hooks.checkpoint'),
        ('default_hooks.visualisation.enable', 'default_hooks.visualization'),
        ('train_cfgs.max_epochs', 'train_cfg'),
        ('param_schedulers', 'param_scheduler'),
        ('load_form', 'load_from'),
        ('val_dataloder.batch_size', 'val_dataloader'),
        ('randomnes.seed', 'randomness'),
        ('custom_hook', 'custom_hooks'),
        ('auto_scale_lr.enabled', 'auto_scale_lr.enable'),
        ('env_cfg.cudnn_benchmrk', 'env_cfg.cudnn_benchmark'),
        ('env_cfg.mp_cfg.start_method', 'env_cfg.mp_cfg.mp_start_method'),
        ('optim_wrapper.paramwise_cfg.custom_key', 'paramwise_cfg.custom_keys'),
    ],
)
def test_misspelt(option, meant):
    cfg = load_config(REPO / MINIBIRDS_CONFIG, {option: 1})
    (sentence,) = find_misspelt(cfg)
    assert 'has no effect' in sentence and f'{meant} meant?' in sentence


@pytest.mark.parametrize(
    'option',
    ['base_lr', 'norm_cfg.type', 'aug_pipeline', 'default_hooks.ema.type', 'img_size'],
)
def test_names_of_ones_own(option):
    assert find_misspelt(load_config(REPO / MINIBIRDS_CONFIG, {option: 1})) == []


@pytest.mark.parametrize(
    'option, place',
    [
        ('train_pipeline.0.scale_hint', 'train_dataloader.dataset.pipeline.0.scale_hint'),
        ('test_pipeline', 'test_dataloader.dataset.pipeline'),
        ('vis_backends.0.type', 'visualizer.vis_backends.0.type'),
        ('max_epochs', 'train_cfg.max_epochs'),
        ('num_classes', 'model.head.num_classes'),
        ('batch_size', 'train_dataloader.batch_size'),
        ('lr', 'optim_wrapper.optimizer.lr'),
        ('optimizer.lr', 'optim_wrapper.optimizer.lr'),
    ],
)
def test_options_without_effect(option, place):
    """A variable of the config was copied when it was read."""
    with pytest.raises(ValueError, match=f'{option} has no effect.*{place}'):
        load_config(REPO / MINIBIRDS_CONFIG, {option: 1})


def test_options_that_are_set_at_all_places(monkeypatch):
    """One's own hook may read the name at the top. What is empty has no copies."""
    options = {'max_epochs': 5, 'train_cfg.max_epochs': 5}
    assert load_config(REPO / MINIBIRDS_CONFIG, options).train_cfg.max_epochs == 5
    cfg = Config(dict(mine={}, val_cfg={}, test_cfg={}))
    misspelt.check_options(cfg, ['mine.a'])


def test_an_option_for_a_number_in_the_config(monkeypatch):
    said = []
    monkeypatch.setattr(misspelt, 'print_log', lambda text, *_: said.append(text))
    load_config(REPO / 'configs/ablation/refine_original.py', {'original_size': 5})
    assert len(said) == 1 and 'original_size has no effect' in said[0]


def test_auto_scale_lr_needs_the_batch_size():
    cfg = Config(dict(auto_scale_lr=dict(enable=True)))
    (sentence,) = find_misspelt(cfg)
    assert 'no base_batch_size' in sentence


def test_optimizers():
    options = {'optim_wrapper.optimizer.type': 'AdmW'}
    with pytest.raises(ValueError, match='AdmW. is no optimizer. Is AdamW meant'):
        check_optimizer(load_config(REPO / MINIBIRDS_CONFIG, options))
    options['optim_wrapper.optimizer.type'] = 'zzz'
    with pytest.raises(ValueError, match='zzz. is no optimizer.$'):
        check_optimizer(load_config(REPO / MINIBIRDS_CONFIG, options))
    for kind in ('SGD', 'mmengine.AdamW', 'mmpretrain.Lamb', torch.optim.Adam):
        check_optimizer(
            load_config(REPO / MINIBIRDS_CONFIG, {'optim_wrapper.optimizer.type': kind})
        )


def test_check_dataset_says_it(minibirds, monkeypatch, capsys):
    options = [f'data_root={minibirds}', 'model.head.num_classes=6', 'load_form=x.pth']
    arguments = [
        'check_dataset.py',
        str(REPO / MINIBIRDS_CONFIG),
        '--cfg-options',
        *options,
    ]
    monkeypatch.setattr(sys, 'argv', arguments)
    check_dataset.main()
    assert (
        'WARNING: load_form has no effect. Is load_from meant?' in capsys.readouterr().out
    )


def test_train_says_it(tmp_path, monkeypatch):
    """Before anything is built."""
    said = []
    monkeypatch.setattr(train, 'print_log', lambda text, *_: said.append(text))
    monkeypatch.setenv('LOCAL_RANK', '0')
    arguments = [
        '--work-dir',
        str(tmp_path),
        '--resume',
        '--cfg-options',
        'load_form=x.pth',
    ]
    monkeypatch.setattr(sys, 'argv', ['train.py', str(REPO / MINIBIRDS_CONFIG), *arguments])
    with pytest.raises(FileNotFoundError):  # nothing to resume
        train.main()
    assert said == ['load_form has no effect. Is load_from meant?']
