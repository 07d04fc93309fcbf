from unittest.mock import patch

import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmpretrain.registry import DATASETS
from PIL import Image


def write_images(root, split, classes):
    for name in classes:
        (root / split / name).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(
                root / split / name / f'{i}.png'
            )


def build(root, split):
    return DATASETS.build(dict(type='ClassFolders', data_root=str(root), split=split))


def test_names_come_from_the_folders(tmp_path):
    for split in ('train', 'val'):
        write_images(tmp_path, split, ['wren', 'jay'])
    train, val = build(tmp_path, 'train'), build(tmp_path, 'val')
    assert train.metainfo['classes'] == val.metainfo['classes'] == ('jay', 'wren')
    assert [train.get_data_info(i)['gt_label'] for i in range(4)] == [0, 0, 1, 1]


def test_different_classes_in_the_splits(tmp_path):
    """Labels would be shifted."""
    write_images(tmp_path, 'train', ['jay', 'owl', 'wren'])
    write_images(tmp_path, 'val', ['jay', 'wren'])
    with pytest.raises(ValueError, match='owl'):
        build(tmp_path, 'val')
    (tmp_path / 'val' / 'owl').mkdir()
    assert build(tmp_path, 'val').get_data_info(3)['gt_label'] == 2


def test_hidden_folder(tmp_path):
    """Jupyter leaves such folders behind."""
    for split in ('train', 'val'):
        write_images(tmp_path, split, ['jay', '.ipynb_checkpoints'])
    with pytest.raises(ValueError, match='train/.ipynb_checkpoints'):
        build(tmp_path, 'train')


def test_files_that_are_not_used(tmp_path):
    write_images(tmp_path, 'train', ['jay', 'wren'])
    image = Image.open(tmp_path / 'train' / 'jay' / '0.png')
    image.save(tmp_path / 'train' / 'jay' / 'other.webp')
    (tmp_path / 'train' / 'jay' / 'IMG_1.HEIC').touch()
    logger = MMLogger.get_current_instance()
    with patch.object(logger, 'warning') as warning:
        assert len(build(tmp_path, 'train')) == 5
    (message,) = warning.call_args.args
    assert '1 files' in message and 'IMG_1.HEIC' in message


def test_missing_split(tmp_path):
    write_images(tmp_path, 'train', ['jay', 'wren'])
    with pytest.raises(FileNotFoundError, match='val/ +MISSING'):
        build(tmp_path, 'val')
