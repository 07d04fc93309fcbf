"""What the scripts share: options as they are typed, and a quiet end."""

import argparse
import sys

import pytest
from helpers import MINIBIRDS_CONFIG, REPO, run_python

from apcnn_mm.launch import add_arguments, load_config

CONFIG = str(REPO / MINIBIRDS_CONFIG)
TYPED = ('my birds', 'a,b', '2024', '007', '1e3', '[a]', '(a, b', "'a'", 'a=', '~/a', '')


def parse(*options):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([CONFIG, '--cfg-options', *options]).cfg_options


@pytest.mark.parametrize(
    'key',
    [
        'data_root',
        'work_dir',
        'load_from',
        'model.backbone.init_cfg.checkpoint',
        'model.pretrained',
        'train_dataloader.dataset.ann_file',
        'train_dataloader.dataset.datasets.0.data_root',
        'train_dataloader.dataset.img_prefix',
        'train_dataloader.dataset.data_prefix',
        'train_dataloader.dataset.data_prefix.img_path',
        'train_dataloader.dataset.split',
        'default_hooks.checkpoint.out_dir',
        'test_evaluator.0.out_file_path',
        'vis_backends.0.save_dir',
    ],
)
def test_paths_arrive_as_typed(key):
    for value in TYPED:
        assert parse(f'{key}={value}') == {key: value}
    assert parse(f'{key}=None') == {key: None}


def test_other_options_are_those_of_mmengine():
    options = (
        'a.b=1',
        'c=[1,(2, x)]',
        'd=True',
        'e=x y',
        'model.backbone.pretrained=false',
    )
    expected = {
        'a.b': 1,
        'c': [1, (2, 'x')],
        'd': True,
        'e': 'xy',
        'model.backbone.pretrained': False,
    }
    assert parse(*options) == expected
    # Later options are added, and win.
    more = ('--cfg-options', 'a.b=2', 'data_root=3')
    assert parse('data_root=a b', 'd=1', *more) == {'a.b': 2, 'd': 1, 'data_root': '3'}


def test_names_of_classes_or_a_file_with_them(tmp_path):
    file = tmp_path / 'my classes,2.txt'
    file.touch()
    assert parse(f'train_dataloader.dataset.classes={file}') == {
        'train_dataloader.dataset.classes': str(file)
    }
    assert parse('x.classes=[jay,owl]') == {'x.classes': ['jay', 'owl']}


@pytest.mark.parametrize(
    'options, message',
    [(('data_root=my', 'birds'), "'birds'"), (('a=[1,2',), 'brackets')],
)
def test_options_that_are_none(options, message, capsys):
    with pytest.raises(SystemExit):
        parse(*options)
    assert message in capsys.readouterr().err


def test_missing_files(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser, checkpoint=True)
    for arguments in (
        ['no.py', CONFIG],
        [CONFIG, 'no.pth'],
        [CONFIG, str(tmp_path)],
        ['bird.jpg', CONFIG],
    ):
        with pytest.raises(SystemExit):
            parser.parse_args(arguments)
    err = capsys.readouterr().err
    assert f'no file {REPO}' in err and 'no.py' in err and 'no.pth' in err
    assert f'{tmp_path} is a folder' in err and 'bird.jpg is no config' in err
    assert (
        parser.parse_args([CONFIG, 'https://a.b/c.pth']).checkpoint == 'https://a.b/c.pth'
    )
    with pytest.raises(FileNotFoundError, match=f'{tmp_path}/no.py'):
        load_config(f'{tmp_path}/no.py')


def test_data_root_reaches_every_data_set():
    cfg = load_config(CONFIG, {'data_root': 'my birds'})
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == 'my birds'
    assert cfg.data_root == 'my birds'


def test_no_data_root(tmp_path):
    (tmp_path / 'config.py').write_text('model = dict()\n')
    with pytest.raises(ValueError, match='no variable data_root'):
        load_config(str(tmp_path / 'config.py'), {'data_root': 'here'})


def test_no_workers():
    """PyTorch refuses what only workers need."""
    options = {
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': True,
        'train_dataloader.prefetch_factor': 4,
    }
    loader = load_config(CONFIG, options).train_dataloader
    assert not loader.persistent_workers and 'prefetch_factor' not in loader


def test_ctrl_c():
    """A sentence instead of a traceback, and the status that shells give."""
    code = 'import _script; raise KeyboardInterrupt("Go on.")'
    done = run_python('-c', code, cwd=REPO / 'tools')
    assert done.returncode == 130
    assert done.stderr.strip() == 'Stopped by Ctrl-C. Go on.'


def test_other_errors_are_shown(capsys):
    import _script

    try:
        raise ValueError('wrong')
    except ValueError:
        _script.end_quietly(*sys.exc_info())
    assert 'ValueError: wrong' in capsys.readouterr().err


@pytest.mark.parametrize(
    'config', ['apcnn_r50_folder.py', 'apcnn_mobilenetv2_folder_224.py']
)
def test_classes_are_counted(tmp_path, config):
    """Class folders that are empty count, too."""
    for split in ('train', 'val'):
        for name in ('jay', 'owl', 'wren'):
            (tmp_path / split / name).mkdir(parents=True)
    path = str(REPO / 'configs' / config)
    options = {'data_root': str(tmp_path)}
    assert load_config(path, options).model.head.num_classes == 3
    given = {'model.head.num_classes': 12}
    assert load_config(path, {**options, **given}).model.head.num_classes == 12
    with pytest.raises(ValueError, match='model.head.num_classes=None') as error:
        load_config(path, {'data_root': str(tmp_path / 'none')})
    assert str(tmp_path / 'none') in str(error.value)
    # Without the data, such as for predictions.
    assert load_config(path, given).model.head.num_classes == 12
