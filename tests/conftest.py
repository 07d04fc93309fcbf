import os
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import REPO, build_model
from mmengine.registry import init_default_scope

import apcnn_mm  # noqa: F401


@pytest.fixture(autouse=True, scope='session')
def default_scope():
    init_default_scope('mmpretrain')


@pytest.fixture
def tiny_model():
    """Builds AP-CNN on a very narrow ResNet-18, with 5 classes."""

    def build_tiny(**options):
        return build_model(
            'apcnn_r18_minibirds.py',
            **{
                'backbone.stem_channels': 8,
                'backbone.base_channels': 8,
                'neck.in_channels': [16, 32, 64],
                'neck.out_channels': 32,
                'head.in_channels': 32,
                'head.hidden_channels': 16,
                'head.num_classes': 5,
                **options,
            },
        )

    return build_tiny


@pytest.fixture
def golden():
    """Loads a file of expected values."""
    return lambda name: np.load(REPO / 'tests' / 'golden' / name)


@pytest.fixture
def reference():
    """A folder with reference data that are not part of the project.

    The values that the released code computes, real birds and pre-trained weights.
    """
    path = Path(os.environ.get('APCNN_REFERENCE', REPO.parent / 'shared'))
    if not path.is_dir():
        pytest.skip(f'there are no reference data in {path}')
    return path


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        for item in items:
            if 'gpu' in item.keywords:
                item.add_marker(pytest.mark.skip(reason='there is no CUDA device'))
