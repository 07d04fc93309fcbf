"""Own pictures, one folder for each class."""

import os

from mmengine.logging import MMLogger
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from .layout import check_layout

# What OpenCV reads of the pictures that people have.
IMAGE_EXTENSIONS = (
    '.jpg',
    '.jpeg',
    '.png',
    '.bmp',
    '.tif',
    '.tiff',
    '.webp',
    '.ppm',
    '.pgm',
)


@DATASETS.register_module()
class ClassFolders(CustomDataset):
    """Pictures in ``data_root/SPLIT/CLASS/``; the folders' names are the class names.

    mmpretrain's :class:`CustomDataset` numbers the class folders of each split by
    itself: a class that one split lacks would shift the labels of the others. Here all
    splits must have the same class folders, of which some may be empty.

    Files that are no images by their names (``IMAGE_EXTENSIONS``) are left out with a
    warning.

    Args:
        data_root (str): The folder with ``train/`` and ``val/``.
        split (str): The folder of this split, such as 'train', 'val' or 'test'.
        **kwargs: Other arguments of :class:`CustomDataset`.

    Raises:
        FileNotFoundError: If a folder is missing. The message shows the expected tree.
        ValueError: If the split's class folders are not those of ``train/``, or one of
            them is hidden.
    """

    def __init__(self, data_root: str, split: str, **kwargs):
        data_root = os.path.expanduser(data_root)
        example = f'CLASS/ANY_NAME.jpg (or {", ".join(IMAGE_EXTENSIONS[1:])})'
        check_layout(data_root, {'train/': example, f'{split}/': example}, 'ClassFolders')
        train, own = (_folders(os.path.join(data_root, s)) for s in ('train', split))
        if own != train:
            raise ValueError(
                f'{os.path.abspath(os.path.join(data_root, split))} must have the same '
                f'class folders as train/. Only in train/: {sorted(train - own)}. '
                f'Only in {split}/: {sorted(own - train)}. Where a class has no '
                'pictures, make an empty folder.'
            )
        folder = os.path.abspath(os.path.join(data_root, split))
        hidden = sorted(name for name in own if name.startswith('.'))
        if hidden:
            raise ValueError(
                f'{os.path.join(folder, hidden[0])} would count as a class. Remove it.'
            )
        others = _other_files(folder)
        if others:
            MMLogger.get_current_instance().warning(
                f'{len(others)} files in {folder} are not used, because they are no '
                f'images by their names, such as {others[0]}. Images end in '
                f'{", ".join(IMAGE_EXTENSIONS)}.'
            )
        super().__init__(
            data_root=data_root, data_prefix=split, extensions=IMAGE_EXTENSIONS, **kwargs
        )


def _folders(path):
    return {entry.name for entry in os.scandir(path) if entry.is_dir()}


def _other_files(folder):
    return [
        os.path.join(path, name)
        for path, _, names in os.walk(folder)
        for name in names
        if not name.lower().endswith(IMAGE_EXTENSIONS)
    ]
