import os
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

import apcnn_mm  # noqa: F401

REPO = Path(__file__).parents[1]
sys.path.insert(0, str(REPO / 'tests'))


@pytest.fixture(autouse=True)
def default_scope():
    init_default_scope('mmpretrain')


def build(config, **options):
    """Build the model of a config without pre-trained weights."""
    cfg = Config.fromfile(REPO / 'configs' / config)
    cfg.model.backbone.init_cfg = None
    cfg.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    return MODELS.build(cfg.model)


@pytest.fixture
def build_model():
    return build


@pytest.fixture
def tiny_model():
    """Builds AP-CNN on a very narrow ResNet-18, with 5 classes."""

    def build_tiny(**options):
        return build(
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


def pytest_configure(config):
    config.addinivalue_line('markers', 'gpu: needs a CUDA device')


def pytest_collection_modifyitems(items):
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if 'gpu' in item.keywords:
                item.add_marker(pytest.mark.skip(reason='there is no CUDA device'))


@pytest.fixture
def reference():
    """A folder with reference data that are not part of the project.

    The values that the released code computes, real birds and pre-trained weights.
    """
    path = Path(os.environ.get('APCNN_REFERENCE', REPO.parent / 'shared'))
    if not path.is_dir():
        pytest.skip(f'there are no reference data in {path}')
    return path


@pytest.fixture
def golden():
    """Loads a file of expected values."""
    import numpy as np

    return lambda name: np.load(REPO / 'tests' / 'golden' / name)
