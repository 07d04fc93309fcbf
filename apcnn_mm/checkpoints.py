"""Checkpoints are read without running what they hold.

A checkpoint is a pickle, and a pickle can run any code when it is read. mmengine tries the
safe way first, but falls back to the unsafe one. Importing this package closes that way
for all of mmengine's loaders: local files, URLs, ``torchvision://`` and the like.
"""

import codecs
import functools
import os
import os.path as osp
import re
import threading
import zipfile
from pickle import UnpicklingError
from typing import Any, Optional
from urllib.error import URLError

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

TRUST = 'APCNN_TRUST_CHECKPOINT'
_torch_load = torch.load
_lock = threading.RLock()  # what is safe to load is one setting for all threads


def load_file(
    file: Any, map_location: Any = None, name: Optional[str] = None, **_: Any
) -> Any:
    """Read a file of ``torch.save`` that holds tensors and plain values only.

    Plain values are also those that mmengine puts into its checkpoints: NumPy's numbers
    and arrays, and the history of the losses. With the environment variable
    ``APCNN_TRUST_CHECKPOINT=1`` anything is loaded, as it is.

    Args:
        file (str | IO[bytes]): The file.
        map_location (Any, optional): See :func:`torch.load`. Defaults to None.
        name (str, optional): What to call an open file in errors. Defaults to None.

    Returns:
        Any: What was saved, most often a dict.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, or if it holds what could run code.
    """
    if isinstance(file, (str, os.PathLike)):
        name = osp.abspath(file)
        if not osp.isfile(file):
            raise FileNotFoundError(f'There is no checkpoint file {name}.')
        if name.endswith('.safetensors'):  # those of timm
            return _load_safetensors(file)
    if os.environ.get(TRUST, '0') not in ('', '0'):
        return _torch_load(file, map_location=map_location, weights_only=False)
    try:
        _check_bytes(file)
        with _lock:
            loaded = _load_safely(file, map_location)
    except (MemoryError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as error:  # a parser may stumble over anything
        if isinstance(error, UnpicklingError) and 'EOF' not in str(error):
            raise ValueError(_refusal(name, error)) from error
        cause = str(error).strip().split('\n')[0] or type(error).__name__
        raise ValueError(
            f'{name} is damaged or no checkpoint ({cause}). Use another checkpoint, or '
            'copy or download this one again.'
        ) from error
    if isinstance(loaded, dict) and isinstance(loaded.get('meta'), dict):
        # mmengine runs this text as Python when it resumes, to look for an entry that
        # only checkpoints older than mmengine have.
        loaded['meta'].pop('config', None)
    return loaded


def _load_safetensors(file):
    from safetensors import SafetensorError
    from safetensors.torch import load_file as load_tensors

    try:
        return load_tensors(file)
    except SafetensorError as error:
        raise ValueError(
            f'{osp.abspath(file)} is damaged or no checkpoint ({error}). Copy or download '
            'it again.'
        ) from error


def _check_bytes(file):
    """Tell what is no checkpoint, or not a whole one, from its bytes."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            broken = archive.testzip()  # PyTorch itself does not look
        if broken is not None:
            raise ValueError(f'the checksum of {broken} is wrong')
    elif isinstance(file, (str, os.PathLike)):
        with open(file, 'rb') as stream:
            start = stream.read(2)
        # Before PyTorch 1.6 a checkpoint was a bare pickle.
        if not start.startswith(b'\x80'):
            size = osp.getsize(file)
            what = 'are not all of it' if start == b'PK' else 'are no pickle'
            raise ValueError(f'its {size} bytes {what}' if size else 'it is empty')
    else:
        file.seek(0)


def _refusal(name, error):
    found = re.search(r'(?:GLOBAL|function) (\S+)', str(error))
    newer = (
        ''
        if hasattr(torch.serialization, 'add_safe_globals')
        else ', or update PyTorch to 2.4, which loads checkpoints of mmengine safely'
    )
    return (
        f'{name} is refused, because it holds more than tensors and plain values'
        f'{f" ({found[1]})" if found else ""} and could run any code: if you trust who '
        f'made it, set the environment variable {TRUST}=1{newer}.'
    )


def _load_safely(file, map_location):
    serialization = torch.serialization
    if not hasattr(serialization, 'add_safe_globals'):  # before PyTorch 2.4
        return _torch_load(file, map_location=map_location, weights_only=True)
    # mmengine declares getattr safe, with which a pickle can replace PyTorch's own
    # functions, and so run any code.
    earlier = serialization.get_safe_globals()
    serialization.clear_safe_globals()
    serialization.add_safe_globals([item for item in earlier if item is not getattr])
    serialization.add_safe_globals(_safe_globals())
    try:
        return _torch_load(file, map_location=map_location, weights_only=True)
    finally:
        serialization.clear_safe_globals()
        serialization.add_safe_globals(earlier)


@functools.cache
def _safe_globals():
    """What a checkpoint of mmengine's may name, besides PyTorch's own."""
    reconstruct = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    types = np.typecodes['AllInteger'] + np.typecodes['AllFloat'] + '?SU'
    return [
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        slice,
        *{type(np.dtype(letter)) for letter in types},
        # NumPy 1 and 2 have different names for these.
        *(
            _named(f'numpy.{core}.multiarray', function.__name__, function)
            for function in (reconstruct, scalar)
            for core in ('core', '_core')
        ),
        _named('_codecs', 'encode', codecs.encode),  # for bytes, before PyTorch 2.5
        *(_named(module, 'getattr', _getattr) for module in ('builtins', '__builtin__')),
    ]


def _getattr(owner, name):
    """``getattr`` for the only purpose that it has in a checkpoint of mmengine's."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'current', 'mean'):
        raise UnpicklingError(f'function getattr of {name}')
    return getattr(owner, name)


def _named(module, name, function):
    """A function under the name that pickles have for it."""

    def call(*args):
        return function(*args)

    call.__module__ = module
    call.__name__ = call.__qualname__ = name
    return call


def _make_safe(loader):
    """A loader of mmengine's whose every ``torch.load`` is :func:`load_file`."""

    @functools.wraps(loader)
    def load(filename, *args, **kwargs):
        with _lock:
            earlier = torch.load
            torch.load = functools.partial(load_file, name=filename)
            try:
                return loader(filename, *args, **kwargs)
            finally:
                torch.load = earlier

    return load


@CheckpointLoader.register_scheme(prefixes='timm://')
def load_from_timm(filename: str, map_location: Optional[str] = None) -> dict:
    """Let timm download weights, or find them where it has kept them.

    Args:
        filename (str): ``timm://`` and a name of ``timm.list_pretrained()``.
        map_location (str, optional): Has no effect, they are on the CPU. Defaults to None.

    Returns:
        dict[str, Tensor]: The weights under timm's names.

    Raises:
        RuntimeError: If timm has no such model or weights.
        URLError: If they cannot be downloaded.
    """
    import timm

    name = filename.removeprefix('timm://')
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except OSError as error:
        reason = str(error).split('\n')[0]
        raise URLError(f'timm cannot download {name}: {reason}') from error


for _prefix, _loader in list(CheckpointLoader._schemes.items()):
    CheckpointLoader.register_scheme(_prefix, _make_safe(_loader), force=True)
