import os
import shutil
import sys
from pathlib import Path
from subprocess import CompletedProcess
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
import torch
from filelock import FileLock
from helpers import CAN_EXPORT, MINIBIRDS_CONFIG, REPO, TINY, build_model, run_python
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope

import apcnn_mm  # noqa: F401
from apcnn_mm.apis.export import MINIMUM_TORCH
from tools.make_minibirds import make_minibirds

# Where the scripts find each other when they are run. At the end: there is a test.py.
sys.path.append(str(REPO / 'tools'))


@pytest.fixture(autouse=True, scope='session')
def default_scope():
    init_default_scope('mmpretrain')


@pytest.fixture
def tiny_model():
    """Builds AP-CNN on a very narrow ResNet-18, with 5 classes."""

    def build_tiny(**options):
        return build_model(
            'apcnn_r18_minibirds.py',
            **{
                'backbone.stem_channels': 8,
                'backbone.base_channels': 8,
                'neck.in_channels': [16, 32, 64],
                'neck.out_channels': 32,
                'head.in_channels': 32,
                'head.hidden_channels': 16,
                'head.num_classes': 5,
                **options,
            },
        )

    return build_tiny


@pytest.fixture
def run_main(monkeypatch, capsys):
    """Runs the ``main`` of a script in this process, as its command line would."""

    def run(script, *arguments):
        monkeypatch.chdir(REPO)
        monkeypatch.setenv('LOCAL_RANK', '0')
        monkeypatch.setattr(sys, 'argv', [script.__file__, *map(str, arguments)])
        capsys.readouterr()
        status, last_words = 0, ''
        # A new process has none.
        no_scope = patch.dict(DefaultScope._instance_dict, clear=True)
        try:
            with no_scope:
                status = script.main() or 0
        except SystemExit as error:  # as Python ends: with a number, or a text and 1
            status = error.code or 0
        except Exception as error:
            status = f'{type(error).__name__}: {error}'
        if isinstance(status, str):
            status, last_words = 1, status
        output = capsys.readouterr()
        return CompletedProcess(arguments, status, output.out, output.err + last_words)

    return run


@pytest.fixture
def golden():
    """Loads a file of expected values."""
    return lambda name: np.load(REPO / 'tests' / 'golden' / name)


@pytest.fixture
def reference():
    """A folder with reference data that are not part of the project.

    The values that the released code computes, real birds and pre-trained weights.
    """
    path = Path(os.environ.get('APCNN_REFERENCE', REPO.parent / 'shared'))
    if not path.is_dir():
        pytest.skip(f'there are no reference data in {path}')
    return path


class TrainedModel(NamedTuple):
    data_root: Path
    work_dir: Path
    options: list

    @property
    def checkpoint(self):
        return self.work_dir / 'epoch_5.pth'


@pytest.fixture(scope='session')
def once(tmp_path_factory):
    """Makes a folder once for all workers of pytest-xdist, by a function that fills it."""
    root = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        root = root.parent

    def make(name, fill):
        folder, done = root / name, root / f'{name}.done'
        with FileLock(root / f'{name}.lock'):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # what has failed in between
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope='session')
def minibirds(once):
    """A very small MiniBirds: 6 classes, 18 training and 12 test images."""

    def draw(folder):
        make_minibirds(folder, classes=6, train=3, test=2, size=64, seed=0)

    return once('minibirds', draw)


@pytest.fixture(scope='session')
def trained(once, minibirds):
    """Five epochs of tools/train.py, run in another directory."""
    options = [*TINY, f'data_root={minibirds}']

    def train(folder):
        done = run_python(
            REPO / 'tools/train.py',
            REPO / MINIBIRDS_CONFIG,
            *('--work-dir', folder),
            *('--cfg-options', *options),
            *('train_cfg.max_epochs=5', 'train_cfg.val_interval=1'),
            cwd=folder,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    return TrainedModel(minibirds, once('trained', train), options)


@pytest.fixture(scope='session')
def exported(once, trained):
    """An ONNX file of that model, written as users do it."""
    if not CAN_EXPORT:
        pytest.skip(f'to export to ONNX takes PyTorch {MINIMUM_TORCH}')

    def export(folder):
        done = run_python(
            *('tools/deployment/export.py', trained.work_dir / 'apcnn_r18_minibirds.py'),
            *(trained.checkpoint, '--out', folder / 'model.onnx'),
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert 'the same as the model on random pictures' in done.stdout
        assert [file.name for file in folder.iterdir()] == ['model.onnx']

    return once('exported', export) / 'model.onnx'


@pytest.fixture
def folds(trained, tmp_path):
    """What mmpretrain's kfold-cross-valid.py leaves, but for the training."""
    for fold in range(3):
        path = tmp_path / 'folds' / f'fold{fold}'
        path.mkdir(parents=True)
        cfg = Config.fromfile(trained.work_dir / 'apcnn_r18_minibirds.py')
        cfg.train_dataloader.dataset = dict(
            type='KFoldDataset',
            dataset=cfg.train_dataloader.dataset,
            fold=fold,
            num_splits=3,
            seed=0,
            test_mode=False,
        )
        cfg.dump(path / 'apcnn_r18_minibirds.py')
        shutil.copy(trained.checkpoint, path)
        (path / 'last_checkpoint').write_text('/elsewhere/epoch_5.pth')  # before it moved
    return tmp_path / 'folds'


def pytest_collection_modifyitems(items):
    # The longest one first: the other workers do the rest meanwhile.
    items.sort(key=lambda item: item.path.name != 'test_demo.py')
    if not torch.cuda.is_available():
        for item in items:
            if 'gpu' in item.keywords:
                item.add_marker(pytest.mark.skip(reason='there is no CUDA device'))
