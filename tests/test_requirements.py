import pytest
from helpers import run_python

MISSING = 'import sys; sys.modules[{name!r}] = None; import apcnn_mm'
OLD = 'import {name}; {name}.__version__ = "0.0.1"; import apcnn_mm'


def import_with(code):
    """Import the package after some sabotage; the last lines of the error."""
    done = run_python('-c', code)
    assert done.returncode == 1, done.stderr
    return done.stderr[done.stderr.rindex('ImportError: ') :]


@pytest.mark.parametrize(
    'name, command',
    [
        ('torch', 'pip install "torch>='),
        ('mmengine', 'pip install "onedl-mmengine"'),
        ('mmcv', '--no-build-isolation'),
        ('mmpretrain', 'pip install "mmpretrain>='),
        ('mmdet', 'pip install "onedl-mmdetection"'),
    ],
)
def test_missing_package(name, command):
    message = import_with(MISSING.format(name=name))
    assert f'needs {name}>=' in message and command in message


def test_old_version():
    message = import_with(OLD.format(name='mmengine'))
    assert 'mmengine 0.0.1 is too old' in message and 'pip install' in message


def test_missing_library():
    """Servers lack those that OpenCV opens windows with."""
    message = import_with(
        'import sys\n'
        'class Finder:\n'
        '    def find_spec(self, name, *_):\n'
        '        if name == "cv2":\n'
        '            raise ImportError("libGL.so.1: cannot open shared object file")\n'
        'sys.meta_path.insert(0, Finder())\n'
        'import apcnn_mm'
    )
    assert 'libGL.so.1' in message and 'opencv-python-headless' in message
    assert 'onedl' not in message


def test_missing_ops():
    code = 'import sys, mmcv; sys.modules["mmcv._ext"] = None; import apcnn_mm'
    message = import_with(code)
    assert 'compiled ops' in message and 'MMCV_WITH_OPS=1 pip install' in message


def test_import_registers_everything():
    code = (
        'import apcnn_mm; from mmpretrain.registry import *;'
        'assert all(map(MODELS.get, ["APCNN", "AttentionFPN", "APCNNHead"]));'
        'assert TASK_UTILS.get("ROIPyramidGenerator") and DATASETS.get("CUBWithBoxes")'
    )
    done = run_python('-c', code)
    assert done.returncode == 0, done.stderr
