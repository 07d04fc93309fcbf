"""A fifth of the training images, on one side of the training or the other."""

import pytest
from mmengine.config import ConfigDict
from mmpretrain.datasets import KFoldDataset
from mmpretrain.registry import DATASETS

from apcnn_mm.datasets.holdout import hold_out, left_out


@pytest.fixture
def birds(minibirds):
    return ConfigDict(
        type='CUBWithBoxes', data_root=str(minibirds), split='train', pipeline=[1]
    )


def paths(config):
    dataset = DATASETS.build(config)
    return [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]


def joined(dataset):
    return ConfigDict(type='ConcatDataset', datasets=[dataset])


WRAPPERS = {
    'none': lambda x: x,
    'repeated': lambda x: ConfigDict(type='RepeatDataset', times=3, dataset=x),
    'balanced': lambda x: ConfigDict(
        type='ClassBalancedDataset', oversample_thr=0.5, dataset=x
    ),
    'joined': joined,
    'both': lambda x: ConfigDict(
        type='RepeatDataset',
        times=2,
        dataset=ConfigDict(type='ConcatDataset', datasets=[x]),
    ),
}


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_two_sides(birds, wrapper):
    """No image, nor a copy of it, is on both; together they are all, and each once."""
    birds.pipeline = []
    config = WRAPPERS[wrapper](birds)
    training = hold_out(config)
    held_out = left_out(training, [])
    assert not set(paths(training)) & set(paths(held_out))
    assert set(paths(training)) | set(paths(held_out)) == set(paths(birds))
    assert len(paths(held_out)) == len(set(paths(held_out))) == 3
    assert hold_out(training, seed=1) == training  # again
    assert config == WRAPPERS[wrapper](birds)  # not changed in place


def test_the_pipeline(birds):
    held_out = left_out(hold_out(WRAPPERS['both'](birds)), [2])
    assert held_out.datasets[0].dataset.pipeline == [2]


def test_folds_of_all_spellings(birds):
    """They are left as they are."""
    for kind in (KFoldDataset, 'KFoldDataset', 'mmpretrain.KFoldDataset'):
        fold = ConfigDict(type=kind, num_splits=3, dataset=WRAPPERS['repeated'](birds))
        assert hold_out(fold) == fold
        assert left_out(fold, [2]).dataset.dataset.pipeline == [2]


def test_seeds(birds):
    birds.pipeline = []
    first, again, other = (paths(left_out(hold_out(birds, seed), [])) for seed in (0, 0, 1))
    assert first == again != other
