"""Training images that the model is not trained on, to calibrate with."""

from copy import deepcopy
from typing import Set, Tuple

from mmengine.config import Config, ConfigDict
from mmpretrain.datasets import KFoldDataset
from mmpretrain.registry import DATASETS

from .splits import Split, fingerprint


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


def choose_images(cfg: Config, meta: dict, seed: int = 0) -> Tuple[ConfigDict, str, bool]:
    """Choose images to settle something with that the model was not trained for.

    Args:
        cfg (Config): The config of the training.
        meta (dict): The ``meta`` of the checkpoint.
        seed (int): Of the share of the training images, where there are no others.

    Returns:
        tuple[ConfigDict, str, bool]: The config of a data set, which has the test pipeline,
        what there is to say about it, and whether the model was trained on it.

    Raises:
        ValueError: If the checkpoint is one of a training with other images, or if images
            that were left out are in another part of the training data.
    """
    test, val = (
        cfg.test_dataloader.dataset,
        (cfg.get('val_dataloader') or {}).get('dataset'),
    )
    if val is not None and not image_paths(val) & image_paths(test):
        return ConfigDict(val, pipeline=test.pipeline), 'The validation split.', False
    said = 'There is no validation split'
    if val is not None:
        said = 'Validation and test have the same images, which are for the test'
    train = cfg.train_dataloader.dataset
    held_out = hold_out(train, seed)
    chosen = left_out(held_out, test.pipeline)
    if held_out != train:
        return chosen, f'{said}. A fifth of the training images.', True
    training = DATASETS.build(train)
    trained_on = image_paths(chosen) & _paths(training)
    if trained_on:
        raise ValueError(
            f'{len(trained_on)} of the training images that were left out are in another '
            f'part of the training data, such as {min(trained_on)}. Join data sets that '
            'have no images in common.'
        )
    of_config = fingerprint(training)
    of_checkpoint = meta.get('train_data', of_config)
    if of_checkpoint != of_config:
        raise ValueError(
            'The checkpoint is of another training than the config: of one with '
            f'{of_checkpoint["images"]} images, where the config has the '
            f'{of_config["images"]} that --holdout has left. Use the checkpoints and the '
            'config of one training.'
        )
    return chosen, f'{said}. The training images that were left out of the training.', False


def image_paths(dataset: ConfigDict) -> Set[str]:
    """The absolute paths of the images of a data set.

    Args:
        dataset (ConfigDict): Its config.
    """
    return _paths(DATASETS.build(dataset))


def _paths(dataset):
    samples = [dataset.get_data_info(i) for i in range(len(dataset))]
    return set(Split('', dataset, samples).paths)


def _set_pipeline(dataset, pipeline):
    """Set the pipeline of the innermost data set."""
    if 'dataset' in dataset:
        _set_pipeline(dataset.dataset, pipeline)
    else:
        dataset.pipeline = pipeline
