"""Own pictures, one folder for each class."""

import os
from typing import Sequence, Union

from mmengine.logging import MMLogger
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from apcnn_runtime.files import IMAGE_EXTENSIONS, find_files, find_folders

from .classes import read_classes, relabel, to_nfc
from .layout import check_layout, expand_root, warn_of_unused


@DATASETS.register_module()
class ClassFolders(BaseDataset):
    """Pictures in ``data_root/SPLIT/CLASS/``; the folders' names are the class names.

    mmpretrain's :class:`CustomDataset` numbers the class folders of each split by
    itself: a class that one split lacks would shift the labels of the others. Here all
    splits must have the same class folders, of which some may be empty. Names are
    compared, and given to the classes, in Unicode's composed form (NFC).

    What lies beside or inside the class folders and is not used (hidden and system files
    and folders, files that are no images by their names, loose images, pipes, links that
    go in circles) is counted in warnings.

    Args:
        data_root (str): The folder with ``train/`` and ``val/``.
        split (str): The folder of this split, such as 'train', 'val' or 'test'.
        classes (str | Sequence[str], optional): The names of the folders in the order
            of the labels, or a text file with them. Defaults to None: sorted.
        **kwargs: Other arguments of mmpretrain's :class:`BaseDataset`.

    Raises:
        FileNotFoundError: If a folder is missing. The message shows the expected tree.
        ValueError: If there is only one class, if the split's class folders are not those
            of ``train/`` or of ``classes``, or if there are no images.
    """

    def __init__(
        self,
        data_root: str,
        split: str,
        classes: Union[str, Sequence[str], None] = None,
        **kwargs,
    ):
        data_root = expand_root(data_root)
        if not isinstance(split, str) or not split:
            raise TypeError(f"split must be a folder's name, such as 'val', not {split!r}.")
        example = f'CLASS/ANY_NAME.jpg (or {", ".join(IMAGE_EXTENSIONS[1:])})'
        names, dataset = ['train', split], f'ClassFolders, split={split!r},'
        if not os.path.isdir(os.path.join(data_root, 'train')):
            # The same error for each split.
            names, dataset = ['train', 'val', split], 'ClassFolders'
        check_layout(
            data_root,
            {f'{name}/': example for name in names},
            dataset,
            way_out=_how_to_split(data_root),
        )
        self.folders = _class_folders(data_root, split)
        if classes is None:
            classes = sorted(self.folders)
        super().__init__(
            ann_file='',
            data_root=data_root,
            data_prefix=split,
            classes=read_classes(classes),
            **kwargs,
        )

    def load_data_list(self):
        """Load image paths and labels."""
        names = sorted(self.folders)
        labels = {self.folders[name]: label for label, name in enumerate(names)}
        found = find_files(self.img_prefix)
        data_list, loose = [], []
        for image in found.images:
            folder, *inside = image.split(os.sep, 1)
            if inside:
                path = os.path.join(self.img_prefix, image)
                data_list.append(dict(img_path=path, gt_label=labels[folder]))
            else:
                loose.append(image)
        used = {sample['gt_label'] for sample in data_list}
        empty = [name for label, name in enumerate(names) if label not in used]
        if not data_list:
            raise ValueError(
                f'There are no images in the class folders of '
                f'{os.path.abspath(self.img_prefix)}. Images end in '
                f'{", ".join(IMAGE_EXTENSIONS)}.'
            )
        others = {
            'classes have no images': empty,
            'images lie beside the class folders and are not used': loose,
        }
        warn_of_unused(self.img_prefix, found, others)
        return relabel(data_list, names, self.CLASSES, self.data_root)


def _class_folders(root, split):
    """The folders of a split by the names of their classes, compared with train/."""
    folders = {}
    for name in {'train', split}:
        path = os.path.abspath(os.path.join(root, name))
        folders[name] = {to_nfc(folder): folder for folder in find_folders(path)}
        if len(folders[name]) < len(find_folders(path)):
            raise ValueError(
                f'{path} has class folders whose names differ only in their Unicode form '
                '(composed or decomposed accents). Put their pictures into one.'
            )
    train, own = folders['train'], folders[split]
    path = os.path.abspath(os.path.join(root, split))
    if own.keys() != train.keys():
        raise ValueError(
            f'{path} must have the same class folders as train/. Only in train/: '
            f'{sorted(train.keys() - own.keys())}. Only in {split}/: '
            f'{sorted(own.keys() - train.keys())}. Where a class has no pictures, make an '
            'empty folder.'
        )
    if len(own) < 2:
        raise ValueError(
            f'{path} has {len(own)} class folder(s), {sorted(own)}, but a classifier needs '
            'two classes or more.'
        )
    differing = sorted(name for name in own if own[name] != train[name])
    if differing:
        MMLogger.get_current_instance().warning(
            f'{path}: {len(differing)} class folders, such as {differing[0]}, are taken '
            'for those of train/, although their names differ in their Unicode form.'
        )
    return own


def _how_to_split(root):
    """What to do where the class folders lie in ``root`` itself."""
    if not os.path.isdir(root) or os.path.isdir(os.path.join(root, 'train')):
        return ''
    paths = [os.path.join(root, folder) for folder in find_folders(root)]
    if not any(
        name.lower().endswith(IMAGE_EXTENSIONS)
        for path in paths
        if os.access(path, os.R_OK)
        for name in os.listdir(path)
    ):
        return ''
    path = os.path.abspath(root)
    return (
        'It seems that the class folders lie here, without a split for training and '
        'validation. Make one, with links to the pictures, and give it as data_root:\n'
        f"    python tools/split_dataset.py '{path}' --out '{path}_split'"
    )
