"""What a bug report needs: versions, devices, compiled ops, and where the files lie.

python -m apcnn_mm
"""

from importlib.metadata import PackageNotFoundError, version

from mmcv.ops import get_compiler_version, get_compiling_cuda_version
from mmpretrain.utils import collect_env

from . import __version__
from .model_zoo import MIM
from .requirements import FAMILIES


def installed(*names):
    """The distributions of these names that are installed, with their versions."""
    found = []
    for name in names:
        try:
            found.append(f'{name} {version(name)}')
        except PackageNotFoundError:
            pass
    return found


def main():
    report = {
        'apcnn_mm': __version__,
        'Configs': (MIM / 'configs').resolve(),
        'Tools': (MIM / 'tools').resolve(),
    }
    for name, fork in FAMILIES.items():
        # Two of them mean that one lies over the other.
        report[name] = ' and '.join(installed(name, fork)) or 'not installed by pip'
    compilers = f'{get_compiler_version()}, CUDA {get_compiling_cuda_version()}'
    report['Compiled ops of mmcv'] = compilers
    report['timm'] = ''.join(installed('timm')) or 'not installed'
    report.update(collect_env())
    for key, value in report.items():
        print(f'{key}: {value}')


if __name__ == '__main__':
    main()
