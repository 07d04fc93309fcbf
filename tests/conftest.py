import os
from pathlib import Path

import pytest
from mmengine.registry import init_default_scope

import apcnn_mm  # noqa: F401

REPO = Path(__file__).parents[1]
# Reference data that are not part of the project: the values that the released code
# computes, real birds and pre-trained weights.
REFERENCE = Path(os.environ.get('APCNN_REFERENCE', REPO.parent / 'shared'))


@pytest.fixture(autouse=True)
def default_scope():
    init_default_scope('mmpretrain')


def needs_reference(*path):
    """Skip a test where the reference data are absent."""
    path = REFERENCE.joinpath(*path)
    return pytest.mark.skipif(not path.exists(), reason=f'needs {path}')
