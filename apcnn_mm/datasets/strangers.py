"""Pictures of no class, to test whether a model knows them for strangers."""

import os

import numpy as np
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from apcnn_runtime.files import IMAGE_EXTENSIONS, find_files

from .layout import expand_root, warn_of_unused


@DATASETS.register_module()
class Strangers(BaseDataset):
    """All images in a folder and its subfolders, with empty labels.

    They are what :class:`Calibration` takes for images of none of the classes. Join them
    to a data set of the classes by mmengine's ``ConcatDataset``, with
    ``ignore_keys='classes'``.

    Args:
        data_root (str): The folder.
        **kwargs: Other arguments of mmpretrain's :class:`BaseDataset`, without
            ``ann_file``.

    Raises:
        FileNotFoundError: If there is no such folder, or no image in it.
    """

    def __init__(self, data_root: str, **kwargs):
        data_root = expand_root(data_root)
        if not os.path.isdir(data_root):
            raise FileNotFoundError(
                f'Strangers.data_root: there is no folder {os.path.abspath(data_root)}.'
            )
        super().__init__(ann_file='', data_root=data_root, **kwargs)

    def load_data_list(self):
        """Find the images."""
        found = find_files(self.data_root)
        warn_of_unused(self.data_root, found)
        if not found.images:
            raise FileNotFoundError(
                f'There are no images in {os.path.abspath(self.data_root)}. Images end in '
                f'{", ".join(IMAGE_EXTENSIONS)}.'
            )
        # A batch may have labels of all lengths, but not some and some without.
        nothing = np.empty(0, dtype=np.int64)
        return [
            dict(img_path=os.path.join(self.data_root, image), gt_label=nothing)
            for image in found.images
        ]
