"""A real kill of a real training."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from helpers import MINIBIRDS_CONFIG, REPO, losses, run_python

from apcnn_mm.checkpoints import load_file
from apcnn_mm.engine.work_dir_lock import check_work_dir
from apcnn_runtime.files import fcntl


def test_killed_training(trained, tmp_path):
    """Some time after its second epoch it ends, and then goes on as if it had not."""
    command = [
        REPO / 'tools/train.py',
        REPO / MINIBIRDS_CONFIG,
        *('--work-dir', tmp_path, '--cfg-options', *trained.options),
        *('train_cfg.max_epochs=5', 'train_cfg.val_interval=1'),
    ]
    log = (tmp_path / 'log').open('w')
    process = subprocess.Popen([sys.executable, *map(str, command)], stdout=log, stderr=log)
    try:
        while not (tmp_path / 'epoch_2.pth').exists():
            assert process.poll() is None, (tmp_path / 'log').read_text()[-3000:]
            time.sleep(0.05)
        if fcntl is not None:
            with pytest.raises(ValueError, match=f'process {process.pid}'):
                check_work_dir(tmp_path)
        time.sleep(np.random.default_rng(0).uniform(0, 1))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    for path in tmp_path.glob('*.pth'):
        load_file(path)

    before = set(tmp_path.glob('*/vis_data'))
    done = run_python(*command, '--resume', cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    for path in before:
        path.rename(path.with_name('before'))
    unbroken = losses(trained.work_dir)
    for epoch, values in losses(tmp_path).items():
        assert values == unbroken[epoch]
    names = {path.name for path in trained.work_dir.glob('*.pth')}
    assert {path.name for path in tmp_path.glob('*.pth*')} == names
    for name in names:
        weights, expected = (
            load_file(folder / name)['state_dict']
            for folder in (tmp_path, trained.work_dir)
        )
        assert all(torch.equal(weights[key], expected[key]) for key in expected), name
