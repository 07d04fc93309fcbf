"""The commands of this package: ``apcnn-train``, ``apcnn-report`` and the others.

They run the scripts of the same names, and take the same arguments.
"""

import runpy
import sys

from .model_zoo import MIM


def train():
    _run('train')


def test():
    _run('test')


def predict():
    _run('predict')


def check():
    _run('check_dataset')


def report():
    _run('report')


def app():
    _run('app')


def split():
    _run('split_dataset')


def calibrate():
    _run('calibrate')


def export():
    _run('deployment/export')


def _run(name):
    # As Python itself does for `python tools/train.py`.
    sys.path[0] = str(MIM / 'tools')
    runpy.run_path(str(MIM / 'tools' / f'{name}.py'), run_name='__main__')
