"""Labels that may be wrong, and pictures that are in two splits."""

import os.path as osp
from glob import escape, glob
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from mmengine.runner import find_latest_checkpoint

from ..datasets.holdout import is_fold
from ..datasets.split import NEAR
from ..launch import load_config
from .answers import split_samples

BLOCK = 1024  # rows of a matrix of distances at a time


class Suspect(NamedTuple):
    """A picture whose label may be wrong.

    Attributes:
        index (int): Of the picture.
        suggestion (int): The label that the model finds likely.
    """

    index: int
    suggestion: int


class NearPair(NamedTuple):
    """Two pictures that are nearly the same.

    Attributes:
        distance (int): The bits in which their hashes differ, of 256.
        first (int): The index of one.
        second (int): The index of the other.
    """

    distance: int
    first: int
    second: int


def find_suspects(labels: np.ndarray, scores: np.ndarray) -> List[Suspect]:
    """Find labels that may be wrong by confident learning.

    A picture probably is of a class where the model is at least as sure of it as it is,
    on average, for the pictures that have its label. Suspects are those that probably are
    of another class than their label says (the off-diagonal of the confident joint,
    Eq. 1 and 2 of Northcutt et al., "Confident learning: estimating uncertainty in
    dataset labels", 2021), but for those whose label is the model's answer, as in the
    authors' package cleanlab.

    Args:
        labels (np.ndarray): The given labels, (N, ).
        scores (np.ndarray): Probabilities of models that have not seen the labels, (N, C).

    Returns:
        list[Suspect]: The least probable label first.
    """
    classes = np.arange(scores.shape[1])
    thresholds = np.array(
        [scores[labels == c, c].mean() if (labels == c).any() else np.inf for c in classes]
    )
    confident = np.where(scores >= thresholds, scores, -1)
    suggestions = confident.argmax(axis=1)
    is_suspect = (confident.max(axis=1) >= 0) & (suggestions != labels)
    (suspects,) = (is_suspect & (scores.argmax(axis=1) != labels)).nonzero()
    own = scores[suspects, labels[suspects]]
    order = suspects[np.argsort(own, kind='stable')]
    return [Suspect(int(i), int(suggestions[i])) for i in order]


def find_near_pairs(
    hashes: Sequence[Optional[np.ndarray]], splits: Sequence[str], most: int = 100
) -> Tuple[List[NearPair], int]:
    """Find near-duplicates in different splits.

    Args:
        hashes (Sequence[np.ndarray | None]): Those of :func:`difference_hash`. None is
            near to nothing.
        splits (Sequence[str]): The split of each picture.
        most (int): How many pairs to tell. Defaults to 100.

    Returns:
        tuple[list[NearPair], int]: The nearest pairs, and how many there are in all.
    """
    known = np.array([i for i, h in enumerate(hashes) if h is not None], dtype=int)
    splits = np.unique(splits, return_inverse=True)[1][known]
    bits = np.array([hashes[i] for i in known], dtype=np.float32)
    ones = bits.sum(axis=-1)
    pairs, total = [], 0
    for start in range(0, len(known), BLOCK):
        rows = slice(start, start + BLOCK)
        # Bits that differ between rows a and b: a + b - 2 a b.
        distances = ones[rows, None] + ones - 2 * bits[rows] @ bits.T
        near = (distances <= NEAR) & (splits[rows, None] < splits)
        i, j = near.nonzero()
        total += len(i)
        found = np.stack([distances[i, j].astype(int), known[rows][i], known[j]], axis=1)
        # Of very many in one block, the others cannot be among the nearest.
        found = found[np.argsort(found[:, 0], kind='stable')[:most]]
        pairs = sorted([*pairs, *(NearPair(*row) for row in found.tolist())])[:most]
    return pairs, total


def held_out_folds(folder: str, options: dict) -> Iterator[Tuple[str, List[dict]]]:
    """The folds of mmpretrain's ``kfold-cross-valid.py``.

    Args:
        folder (str): Its work directory, with ``fold0/``, ``fold1/``, ...
        options (dict): Those of the command line.

    Yields:
        tuple[str, list[dict]]: The last checkpoint of a fold, and the samples that it was
        not trained on.

    Raises:
        ValueError: If a fold is missing or not complete.
    """
    folder = osp.abspath(folder)
    number, fold = 1, 0
    while fold < number:
        path = osp.join(folder, f'fold{fold}')
        configs = glob(osp.join(escape(path), '*.py'))
        checkpoint = osp.isdir(path) and find_latest_checkpoint(path)
        if len(configs) != 1 or not checkpoint:
            raise ValueError(
                f'{path} is no finished fold with its config and its last checkpoint. '
                'Folds are made by mmpretrain: python '
                '$(python -c "import mmpretrain; print(mmpretrain.__path__[0])")'
                '/.mim/tools/kfold-cross-valid.py CONFIG --num-splits 5 --work-dir '
                f'{folder}'
            )
        dataset = load_config(configs[0], options).train_dataloader.dataset
        if not is_fold(dataset):
            raise ValueError(f'{configs[0]} is no fold, but trains on {dataset.type}.')
        number, fold = dataset.num_splits, fold + 1
        # Work directories may have been moved.
        checkpoint = osp.join(path, osp.basename(checkpoint))
        yield checkpoint, split_samples({**dataset, 'test_mode': True})
