import itertools
import shutil

import numpy as np
import pytest
from mmengine.config import Config

from apcnn_mm.analysis import labels, split_samples
from apcnn_mm.analysis.labels import find_near_pairs, find_suspects, held_out_folds
from apcnn_mm.datasets.split import NEAR


def test_suspects():
    scores = np.array(
        [
            [0.9, 0.1, 0.0],
            [0.7, 0.3, 0.0],
            [0.1, 0.9, 0.0],  # below the mean of its label, above that of the other
            [0.4, 0.6, 0.0],
            [0.2, 0.8, 0.0],
            [0.5, 0.5, 0.0],  # hard, but sure of neither
            [0.1, 0.5, 0.4],  # sure of the third class, but rather of its own
            [0.7, 0.0, 0.3],
        ]
    )
    given = np.array([0, 0, 0, 1, 1, 1, 1, 2])
    # The means: 0.567 for 0, 0.6 for 1, 0.3 for 2.
    assert find_suspects(given, scores) == [(2, 1), (7, 0)]


def test_planted_labels_are_found():
    """Those alone, and most of them; no class without a picture is suggested."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 9, 300)
    scores = rng.dirichlet(np.ones(10), 300) * 0.3 + 0.7 * np.eye(10)[truth]
    given = truth.copy()
    planted = rng.choice(300, 15, replace=False)
    given[planted] = (truth[planted] + 1) % 9
    found = find_suspects(given, scores)
    assert {suspect.index for suspect in found} <= set(planted.tolist())
    assert len(found) > 7
    assert all(suspect.suggestion == truth[suspect.index] for suspect in found)
    own = [scores[suspect.index, given[suspect.index]] for suspect in found]
    assert own == sorted(own)


@pytest.mark.parametrize('block', [3, 1024])
def test_near_pairs(block, monkeypatch):
    """As when each pair is looked at."""
    monkeypatch.setattr(labels, 'BLOCK', block)
    rng = np.random.default_rng(0)
    hashes = list(rng.random((20, 256)) < 0.5)
    splits = ['train'] * 8 + ['val'] * 5 + ['test'] * 7
    hashes[15] = hashes[2].copy()
    for near, (one, other) in enumerate([(1, 9), (4, 14), (0, 3)]):
        hashes[other] = hashes[one].copy()
        hashes[other][: NEAR + near] ^= True
    hashes[19] = None
    found, total = find_near_pairs(hashes, splits)
    expected = sorted(
        (int((hashes[i] ^ hashes[j]).sum()), {i, j})
        for i, j in itertools.combinations(range(19), 2)
        if splits[i] != splits[j] and (hashes[i] ^ hashes[j]).sum() <= NEAR
    )
    assert [(d, {i, j}) for d, i, j in found] == expected
    assert expected == [(0, {2, 15}), (NEAR, {1, 9})] and total == 2
    assert find_near_pairs(hashes, splits, most=1) == (found[:1], 2)
    assert find_near_pairs([None, None], ['train', 'val']) == ([], 0)


def test_folds(folds, trained):
    """Each training picture is held out once."""
    found = list(held_out_folds(folds, {}))
    names = [f'fold{i}/epoch_5.pth' for i in range(3)]
    assert [checkpoint for checkpoint, _ in found] == [str(folds / name) for name in names]
    cfg = Config.fromfile(trained.work_dir / 'apcnn_r18_minibirds.py')
    training = split_samples(cfg.train_dataloader.dataset)
    held_out = [sample['img_path'] for _, samples in found for sample in samples]
    assert sorted(held_out) == sorted(sample['img_path'] for sample in training)


def test_folds_that_are_not_complete(folds, trained):
    shutil.rmtree(folds / 'fold2')
    with pytest.raises(
        ValueError, match=r'fold2 is no finished fold(.|\n)*kfold-cross-valid'
    ):
        list(held_out_folds(folds, {}))
    path = folds / 'fold0/apcnn_r18_minibirds.py'
    shutil.copy(trained.work_dir / 'apcnn_r18_minibirds.py', path)
    with pytest.raises(ValueError, match='is no fold, but trains on CUBWithBoxes'):
        list(held_out_folds(folds, {}))
