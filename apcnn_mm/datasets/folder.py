"""Own pictures, one folder for each class."""

import os

from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from .layout import check_layout


@DATASETS.register_module()
class ClassFolders(CustomDataset):
    """Pictures in ``data_root/SPLIT/CLASS/``; the folders' names are the class names.

    mmpretrain's :class:`CustomDataset` numbers the class folders of each split by
    itself: a class that one split lacks would shift the labels of the others. Here all
    splits must have the same class folders, of which some may be empty.

    Args:
        data_root (str): The folder with ``train/`` and ``val/``.
        split (str): The folder of this split, such as 'train', 'val' or 'test'.
        **kwargs: Other arguments of :class:`CustomDataset`.

    Raises:
        FileNotFoundError: If a folder is missing. The message shows the expected tree.
        ValueError: If the split's class folders are not those of ``train/``.
    """

    def __init__(self, data_root: str, split: str, **kwargs):
        data_root = os.path.expanduser(data_root)
        example = 'CLASS/ANY_NAME.jpg (or .png, .bmp, .tif, ...)'
        check_layout(data_root, {'train/': example, f'{split}/': example}, 'ClassFolders')
        train, own = (_folders(os.path.join(data_root, s)) for s in ('train', split))
        if own != train:
            raise ValueError(
                f'{os.path.abspath(os.path.join(data_root, split))} must have the same '
                f'class folders as train/. Only in train/: {sorted(train - own)}. '
                f'Only in {split}/: {sorted(own - train)}. Where a class has no '
                'pictures, make an empty folder.'
            )
        super().__init__(data_root=data_root, data_prefix=split, **kwargs)


def _folders(path):
    return {entry.name for entry in os.scandir(path) if entry.is_dir()}
