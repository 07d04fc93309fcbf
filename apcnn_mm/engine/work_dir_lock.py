"""One training at a time in a work directory."""

import os
import os.path as osp
import socket

from mmengine.logging import print_log

from apcnn_runtime.files import lock

_held = {}  # open lock files of this process, by path


def lock_work_dir(work_dir: str):
    """Keep other processes from training in a work directory.

    The lock ends with :func:`unlock_work_dir` or with this process, however that ends. A
    second training in the same process is let through. On Windows, and on file systems
    without locks, nothing is locked.

    Args:
        work_dir (str): The work directory, which must exist.

    Raises:
        ValueError: If another process trains there.
    """
    path = _lock_file(work_dir)
    if (os.getpid(), path) in _held:
        return
    file = open(path, 'a+')
    _lock(file, work_dir)
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}')
    file.flush()
    _held[os.getpid(), path] = file


def unlock_work_dir(work_dir: str):
    """Let others train in a work directory that this process has locked.

    Args:
        work_dir (str): The work directory.
    """
    file = _held.pop((os.getpid(), _lock_file(work_dir)), None)
    if file is not None:
        file.close()


def check_work_dir(work_dir: str):
    """Look whether a work directory is free, without locking it.

    Args:
        work_dir (str): The work directory.

    Raises:
        ValueError: If another process trains there.
    """
    path = _lock_file(work_dir)
    # A process that closes its lock file, opened anew or not, gives up its lock.
    if (os.getpid(), path) in _held or not osp.isfile(path):
        return
    with open(path) as file:
        _lock(file, work_dir, shared=True)  # all ranks may look at once


def _lock_file(work_dir):
    return osp.join(osp.realpath(work_dir), '.training.lock')


def _lock(file, work_dir, shared=False):
    try:
        locked = lock(file, shared)
    except OSError as error:
        print_log(
            f'{work_dir} cannot be locked ({error.strerror}): see to it that only one '
            'training uses it.',
            logger='current',
        )
        return
    if not locked:
        file.seek(0)
        raise ValueError(
            f'Another training, {file.read() or "just started"}, uses the work '
            f'directory {osp.abspath(work_dir)}. Wait for it, stop it, or choose '
            'another one with --work-dir.'
        )
