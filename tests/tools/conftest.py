from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import MINIBIRDS_CONFIG, REPO, TINY, run_python

from tools.make_minibirds import make_minibirds


class TrainedModel(NamedTuple):
    data_root: Path
    work_dir: Path
    options: list

    @property
    def checkpoint(self):
        return self.work_dir / 'epoch_5.pth'


@pytest.fixture(scope='session')
def minibirds(tmp_path_factory):
    """A very small MiniBirds: 6 classes, 18 training and 12 test images."""
    root = tmp_path_factory.mktemp('minibirds')
    make_minibirds(root, classes=6, train=3, test=2, size=64, seed=0)
    return root


@pytest.fixture(scope='session')
def trained(tmp_path_factory, minibirds):
    """Five epochs of tools/train.py, run in another directory."""
    work_dir = tmp_path_factory.mktemp('run')
    options = [*TINY, f'data_root={minibirds}']
    done = run_python(
        REPO / 'tools/train.py',
        REPO / MINIBIRDS_CONFIG,
        *('--work-dir', work_dir),
        *('--cfg-options', *options, 'train_cfg.max_epochs=5', 'train_cfg.val_interval=1'),
        cwd=work_dir,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return TrainedModel(minibirds, work_dir, options)
