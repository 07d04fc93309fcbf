"""Training images that the model is not trained on, to calibrate with."""

from copy import deepcopy

from mmengine.config import ConfigDict
from mmpretrain.datasets import KFoldDataset
from mmpretrain.registry import DATASETS


def is_fold(dataset: ConfigDict) -> bool:
    """Whether the config of a data set is one of mmpretrain's folds."""
    kind = dataset.type
    return (DATASETS.get(kind) if isinstance(kind, str) else kind) is KFoldDataset


def hold_out(dataset: ConfigDict, seed: int = 0) -> ConfigDict:
    """Leave a fifth of the images out of a data set.

    It is done inside of what repeats, balances or joins data sets: where an image is
    repeated, its copies stay on one side.

    Args:
        dataset (ConfigDict): The config of a data set.
        seed (int): Of the choice. Defaults to 0.

    Returns:
        ConfigDict: Another config. Where images were left out before, they are the same.
    """
    dataset = deepcopy(dataset)
    if is_fold(dataset):
        return dataset
    if 'datasets' in dataset:
        dataset.datasets = [hold_out(part, seed) for part in dataset.datasets]
    elif 'dataset' in dataset:
        dataset.dataset = hold_out(dataset.dataset, seed)
    else:
        dataset = ConfigDict(type='KFoldDataset', num_splits=5, seed=seed, dataset=dataset)
    return dataset


def left_out(dataset: ConfigDict, pipeline: list) -> ConfigDict:
    """The images that :func:`hold_out` has left out, each of them once.

    Args:
        dataset (ConfigDict): What it has returned.
        pipeline (list): Their pipeline.

    Returns:
        ConfigDict: The config of a data set.
    """
    dataset = deepcopy(dataset)
    if is_fold(dataset):
        dataset.test_mode = True
        _set_pipeline(dataset.dataset, pipeline)
    elif 'datasets' in dataset:
        dataset.datasets = [left_out(part, pipeline) for part in dataset.datasets]
    else:
        dataset = left_out(dataset.dataset, pipeline)
    return dataset


def _set_pipeline(dataset, pipeline):
    """Set the pipeline of the innermost data set."""
    if 'dataset' in dataset:
        _set_pipeline(dataset.dataset, pipeline)
    else:
        dataset.pipeline = pipeline
