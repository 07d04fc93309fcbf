"""What set-up does with pip, in environments that are made up."""

import os
import subprocess

import pytest
from helpers import REPO

# It notes what pip is asked for, and what is installed is in its folder.
PYTHON = """#!/bin/bash
cd {folder}
case "$*" in
    *sys.prefix*) echo {folder} ;;
    *platlib*) echo {folder}/packages ;;
    *sysconfig*) echo {folder}/include ;;
    *version_info*) exit 0 ;;
    *"import apcnn_mm"*) [ -e complete ] || exit 1 ;;
    *"import mmcv.ops"*) [ -e mmcv ] || exit 1 ;;
    *"import cv2"*) [ ! -e needs_libGL ] ;;
    "-m pip show opencv"*) echo "Version: 4.12.0.88" ;;
    "-m pip show"*) [ -e other_family ] ;;
    "-m pip download"*) [ -e wheel ] ;;
    *)
        echo "$@" >>calls
        if [ -e interrupted ] && [[ "$*" == *"$(cat interrupted)"* ]]; then
            rm interrupted
            exit 1
        fi
        if [[ "$*" == *--editable* ]]; then touch complete; fi
        ;;
esac
"""
HEADER = 'int a_header_of_python;'


class Environment:
    """One that is active, with a Python that only pretends."""

    def __init__(self, folder):
        self.folder = folder
        self.write('bin/python', PYTHON.format(folder=folder)).chmod(0o755)
        self.write('include/Python.h', HEADER)

    def write(self, name, text=''):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, script='setup_env.sh', *arguments, **variables):
        """The exit status, all output, and what pip was asked for."""
        self.write('calls')
        environment = {**os.environ, 'VIRTUAL_ENV': str(self.folder), **variables}
        environment['PATH'] = f'{self.folder / "bin"}:{environment["PATH"]}'
        done = subprocess.run(
            ['bash', '-euo', 'pipefail', REPO / 'tools' / script, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=20,  # it does not wait for what tells that it is alive
        )
        calls = (self.folder / 'calls').read_text().splitlines()
        return done.returncode, done.stdout, calls


@pytest.fixture
def environment(tmp_path):
    return Environment(tmp_path)


def test_complete(environment):
    environment.write('complete')
    assert environment.run() == (0, '', [])


def test_a_wheel_fits(environment):
    """Nothing is compiled, and no compiler is needed."""
    environment.write('wheel')
    status, output, calls = environment.run(CXX='no_such_compiler')
    assert status == 0 and 'ompil' not in output
    assert [call.split()[2] for call in calls] == ['install', 'install']
    assert 'torch==' in calls[0] and '.[onedl,tests]' in calls[1]
    assert environment.run() == (0, '', [])


def test_opencv_that_needs_what_servers_lack(environment):
    """Its build without windows takes the place of the one that came last."""
    environment.write('wheel')
    environment.write('needs_libGL')
    status, output, calls = environment.run()
    assert status == 0 and 'without windows' in output and len(calls) == 3
    assert calls[2].endswith(
        '--force-reinstall --no-deps opencv-python-headless==4.12.0.88'
    )


def test_no_wheel_fits(environment):
    status, output, calls = environment.run(CUDA_VISIBLE_DEVICES='')
    assert status == 0 and 'will be compiled' in output and 'Compiling' in output
    assert [call.split()[2] for call in calls] == ['install', 'wheel', 'install']
    assert 'onedl-mmcv==' in calls[1]


@pytest.mark.parametrize('missing', ['compiler', 'headers'])
def test_no_compiler(environment, missing):
    """It is missed before anything is downloaded."""
    compiler = 'c++'
    if missing == 'compiler':
        compiler = 'no_such_compiler'
    else:
        (environment.folder / 'include/Python.h').unlink()
    status, output, calls = environment.run(CXX=compiler)
    assert status == 1 and not calls
    assert 'sudo apt install g++ python3-dev' in output


def test_no_nvcc(environment):
    """A GPU, and nothing to build for it."""
    environment.write('bin/nvidia-smi', '#!/bin/bash\n').chmod(0o755)
    if os.path.isdir('/usr/local/cuda'):
        pytest.skip('there is a CUDA toolkit')
    status, output, calls = environment.run(CUDA_HOME='')
    assert status == 1 and not calls and 'nvcc' in output
    status, _, calls = environment.run(CUDA_HOME='', CUDA_VISIBLE_DEVICES='')
    assert status == 0 and calls


def test_mmcv_is_there(environment):
    """Something else is missing; that is no reason to compile."""
    environment.write('mmcv')
    status, output, calls = environment.run(CXX='no_such_compiler')
    assert status == 0 and [call.split()[2] for call in calls] == ['install', 'install']


@pytest.mark.parametrize('step', ['torch==', 'wheel --quiet', '--editable'])
def test_interrupted(environment, step):
    """The next run completes the environment, which looks complete, perhaps."""
    half = environment.write('packages/half-1.0.dist-info/METADATA')
    whole = environment.write('packages/whole-1.0.dist-info/RECORD', 'whole.py')
    moved = environment.write('packages/~oved/file.py')
    environment.write('interrupted', step)
    status, output, calls = environment.run(CUDA_VISIBLE_DEVICES='')
    assert status == 1 and step in calls[-1] and half.exists()

    if step == '--editable':
        environment.write('complete')
    status, output, calls = environment.run(CUDA_VISIBLE_DEVICES='')
    assert status == 0 and 'complete' in output and len(calls) == 3
    assert whole.exists()
    if 'wheel' not in step:  # building installs nothing
        assert not half.exists() and not moved.exists()
    assert environment.run() == (0, '', [])


def test_the_other_family(environment):
    """Nothing is installed over it."""
    environment.write('other_family')
    status, output, calls = environment.run()
    assert status == 1 and not calls and 'other family' in output


def test_unknown_stack(environment):
    status, output, _ = environment.run('run_tests.sh', '--stack', 'mmlab')
    assert status == 2 and 'onedl or openmmlab' in output
    status, output, _ = environment.run('run_tests.sh', '--stack')
    assert status != 0 and 'onedl or openmmlab' in output
