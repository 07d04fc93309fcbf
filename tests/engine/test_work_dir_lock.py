"""Two trainings in one work directory would overwrite each other's files."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from mmpretrain.registry import HOOKS

from apcnn_mm.engine import work_dir_lock
from apcnn_mm.engine.work_dir_lock import check_work_dir, lock_work_dir, unlock_work_dir
from apcnn_runtime import files

# Locks a directory, and forks a worker that outlives it, as those of data loaders may.
OTHER = """
import os, runpy, sys, time
runpy.run_path(sys.argv[1])['lock_work_dir'](sys.argv[2])
worker = os.fork()
if worker:
    print(worker, flush=True)
time.sleep(100)
"""

pytestmark = pytest.mark.skipif(files.fcntl is None, reason='no fcntl')


@pytest.fixture
def other(tmp_path):
    """Another process that trains in the directory; its worker."""
    process = subprocess.Popen(
        [sys.executable, '-c', OTHER, work_dir_lock.__file__, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
    )
    worker = int(process.stdout.readline())
    yield process
    process.kill()
    process.wait()
    os.kill(worker, signal.SIGKILL)


def test_one_training_at_a_time(tmp_path, other):
    for refused in (lock_work_dir, check_work_dir):
        with pytest.raises(ValueError, match=f'process {other.pid} on .*{tmp_path}'):
            refused(tmp_path)
    other.kill()  # its worker lives on
    other.wait()
    check_work_dir(tmp_path)
    lock_work_dir(tmp_path)
    unlock_work_dir(tmp_path)


def test_the_same_process_may(tmp_path):
    """Such as a notebook whose last training was interrupted."""
    check_work_dir(tmp_path / 'none')
    lock_work_dir(tmp_path)
    lock_work_dir(tmp_path)
    check_work_dir(tmp_path)
    locked = subprocess.run(
        [
            *(sys.executable, '-c'),
            'import fcntl, sys; fcntl.lockf(open(sys.argv[1], "r+"), 6)',
            tmp_path / '.training.lock',
        ],
        stderr=subprocess.DEVNULL,
    )
    assert locked.returncode != 0
    unlock_work_dir(tmp_path)


def test_without_locks(tmp_path, monkeypatch):
    """On Windows, or on file systems that have none."""
    monkeypatch.setattr(files, 'fcntl', None)
    lock_work_dir(tmp_path)
    check_work_dir(tmp_path)
    unlock_work_dir(tmp_path)


def test_training_locks_before_it_writes(tmp_path, other):
    hook = HOOKS.build(dict(type='ResumableCheckpointHook'))
    with pytest.raises(ValueError, match='Another training'):
        hook.before_train(SimpleNamespace(work_dir=str(tmp_path)))
