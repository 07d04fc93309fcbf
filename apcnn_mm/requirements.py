"""One clear message where the stack below this package is not complete."""

import re
from importlib import import_module

from .quiet import silence

# Import name -> oldest version that was tried. Two families of distributions provide
# the last four: neither may be installed over the other, so neither can be a
# requirement in setup.cfg.
MINIMUM_VERSIONS = {
    'torch': '2.1.0',
    'mmengine': '0.10.7',
    'mmcv': '2.1.0',
    'mmpretrain': '1.2.0',
    'mmdet': '3.3.0',
}
FAMILIES = {
    'mmengine': 'onedl-mmengine',
    'mmcv': 'onedl-mmcv',
    'mmpretrain': 'onedl-mmpretrain',
    'mmdet': 'onedl-mmdetection',
}


def check_requirements():
    """Import what this package is built on.

    Raises:
        ImportError: If a package is missing, fails to import, is too old, or was built
            without its compiled ops. The message names it and what to do.
    """
    for name, minimum in MINIMUM_VERSIONS.items():
        try:
            module = import_module(name)
        except Exception as error:  # mmdet and mmpretrain assert mmcv's version
            problem = f'{name} cannot be imported ({type(error).__name__}: {error})'
            raise ImportError(_advice(name, minimum, problem)) from error
        if _release(module.__version__) < _release(minimum):
            problem = f'{name} {module.__version__} is too old'
            raise ImportError(_advice(name, minimum, problem))
        if name == 'mmengine':
            silence()  # what it needs is there; the messages come after this
    try:
        import_module('mmcv.ops')
    except ImportError as error:
        raise ImportError(
            f'apcnn_mm needs the compiled ops of mmcv, but mmcv.ops cannot be imported '
            f'({error}). Usually mmcv was installed without its ops: "mmcv-lite", or '
            'built where pip did not see torch. Reinstall the one that you have, '
            'mmcv or onedl-mmcv (pip list tells which):\n'
            '    pip install ninja psutil "setuptools>=80,<82" wheel\n'
            '    pip uninstall -y mmcv-lite\n'
            '    MMCV_WITH_OPS=1 pip install --no-build-isolation --no-cache-dir '
            '--force-reinstall --no-deps onedl-mmcv'
        ) from error


def _release(version):
    return tuple(int(number) for number in re.findall(r'\d+', version)[:3])


def _advice(name, minimum, problem):
    if 'cannot open shared object' in problem:
        return (
            f'apcnn_mm needs {name}: {problem}. A library of the system is missing. Where '
            'it is one of OpenCV, either will do:\n'
            '    sudo apt install libgl1 libglib2.0-0    (Debian, Ubuntu)\n'
            '    pip install --force-reinstall --no-deps opencv-python-headless'
        )
    if name not in FAMILIES:
        command = f'    pip install "{name}>={minimum}"'
    else:
        command = (
            f'    pip install "{FAMILIES[name]}"    (maintained forks, '
            'together with the extra apcnn-mm[onedl])\n'
            f'    pip install "{name}>={minimum}"    (OpenMMLab, '
            'together with the extra apcnn-mm[openmmlab])\n'
            'Stay with the family that you have: both have the same import names, and '
            'one must not be installed over the other (pip list tells which).'
        )
        if name == 'mmcv':
            command += '\nFor mmcv, add --no-build-isolation, or its ops are not built.'
    return f'apcnn_mm needs {name}>={minimum}: {problem}. To mend it:\n{command}'
