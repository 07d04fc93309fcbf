"""Harmless messages of the stack are silent, and no others."""

import warnings
from importlib import import_module

import pytest
from helpers import run_python

from apcnn_mm.quiet import LOGGED, UNFILTERED, WARNINGS, silence

# What a start says on a machine without a GPU.
START = """
import apcnn_mm
from mmcv.cnn import ConvModule
from mmengine.fileio import FileClient
from torch.utils.data import DataLoader
iter(DataLoader([1], pin_memory=True))
ConvModule(1, 1, 1, bias=True, norm_cfg=dict(type='BN'))
FileClient.infer_client(uri='directory')
"""


def test_start():
    done = run_python('-c', START)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


@pytest.mark.parametrize('text', WARNINGS)
def test_warnings(text):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        silence()
        warnings.warn(f'{text}, and so on.', stacklevel=1)
        warnings.warn(f'Beware: {text}', stacklevel=1)
    assert [str(warning.message)[:6] for warning in caught] == ['Beware']


def test_warning_that_cannot_be_filtered(monkeypatch):
    """The import that shows it shows others as before."""

    def noisy_import(name):
        if name == 'torch.distributed.optim':
            with warnings.catch_warnings():
                warnings.simplefilter('always')
                warnings.warn(f'{UNFILTERED} and', DeprecationWarning, stacklevel=1)
                warnings.warn('Beware', DeprecationWarning, stacklevel=1)
        return import_module(name)

    monkeypatch.setattr('apcnn_mm.quiet.import_module', noisy_import)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        silence()
    assert [str(warning.message) for warning in caught] == ['Beware']


# Where the messages come from.
LOGGING = ('logging', 'fileio.file_client', 'optim.optimizer.default_constructor')


@pytest.mark.parametrize('text', LOGGED)
@pytest.mark.parametrize('module', LOGGING)
def test_log(module, text, capsys):
    print_log = import_module(f'mmengine.{module}').print_log
    print_log(f'{text}, and so on.')
    print_log(f'Beware: {text}')
    assert capsys.readouterr().out.splitlines() == [f'Beware: {text}']
