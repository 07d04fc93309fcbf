"""FGVC-Aircraft with the boxes of its objects."""

import os
from typing import Sequence, Union

from mmpretrain.datasets import FGVCAircraft
from mmpretrain.registry import DATASETS

from apcnn_runtime.files import read_lines

from ..arguments import check_choice
from .classes import read_classes, relabel
from .layout import check_layout, expand_root


@DATASETS.register_module()
class FGVCAircraftWithBoxes(FGVCAircraft):
    """FGVC-Aircraft, the 100 variants, with or without its folder ``data/``.

    On top of mmpretrain's :class:`FGVCAircraft`, each image has its ``object_box``:
    (x1, y1, x2, y2) in pixels of the original image, as float list. The file counts
    pixels from 1 and names the first and the last pixel of the object; here x1 and y1 are
    one less, so that x2 - x1 is the width, as in the other data sets. It is for
    evaluation; AP-CNN does not learn from it.

    The last 20 rows of each image name its photographer and must not be trained or tested
    on: :class:`RemoveBottomRows` in the pipeline removes them.

    Args:
        data_root (str): The folder with ``data/``, or what is in ``data/``.
        split (str): 'train', 'val', 'trainval' or 'test'. Defaults to 'trainval'.
        classes (str | Sequence[str], optional): The names of the variants in the order of
            the labels, or a text file with them. Defaults to None: mmpretrain's order.
        **kwargs: Other arguments of :class:`FGVCAircraft`.

    Raises:
        FileNotFoundError: If a file is missing. The message shows the expected tree.
        ValueError: If a file is spoilt, or ``classes`` are not the variants.
    """

    def __init__(
        self,
        data_root: str,
        split: str = 'trainval',
        classes: Union[str, Sequence[str], None] = None,
        **kwargs,
    ):
        splits = ('train', 'val', 'trainval', 'test')
        check_choice('FGVCAircraftWithBoxes.split', split, splits)
        data_root = expand_root(data_root)
        self._has_data_folder = os.path.isdir(os.path.join(data_root, 'data'))
        entries = {
            'images/': 'IMAGE.jpg',
            f'images_variant_{split}.txt': 'image and class',
            'images_box.txt': 'image, xmin, ymin, xmax, ymax',
        }
        in_data = {f'data/{name}': text for name, text in entries.items()}
        layouts = [in_data] if self._has_data_folder else [in_data, entries]
        check_layout(data_root, layouts[0], 'FGVC-Aircraft', *layouts[1:])
        super().__init__(data_root, split, classes=read_classes(classes), **kwargs)

    def _join_prefix(self):
        """The parent's paths are those in ``data/``."""
        if not self._has_data_folder:
            self.ann_file = os.path.basename(self.ann_file)
            self.data_prefix = dict(img_path='images')
        super()._join_prefix()

    def load_data_list(self):
        """Load image paths, labels and object boxes."""
        file = os.path.join(os.path.dirname(self.ann_file), 'images_box.txt')
        boxes = {}
        for name, text in _read_pairs(file).items():
            try:
                x1, y1, x2, y2 = map(float, text.split())
            except ValueError as error:
                raise ValueError(
                    f'{os.path.abspath(file)}: {text!r}, of image {name}, is not four '
                    'numbers.'
                ) from error
            boxes[name] = [x1 - 1, y1 - 1, x2, y2]
        names = self.METAINFO['classes']
        data_list = []
        for name, variant in _read_pairs(self.ann_file).items():
            if variant not in names:
                raise ValueError(
                    f'{os.path.abspath(self.ann_file)}: {variant!r}, of image {name}, is '
                    'none of the 100 variants.'
                )
            if name not in boxes:
                raise ValueError(f'{os.path.abspath(file)} has no box of {name}.jpg.')
            data_list.append(
                dict(
                    img_path=self.backend.join_path(self.img_prefix, f'{name}.jpg'),
                    gt_label=names.index(variant),
                    object_box=boxes[name],
                )
            )
        return relabel(data_list, names, self.CLASSES, self.data_root)


def _read_pairs(file):
    """The lines of a file, each the name of an image and a text, by name.

    mmpretrain's reading keeps a byte order mark as part of the first name.
    """
    lines = (line.split(maxsplit=1) for line in read_lines(file).values())
    return {name: ' '.join(text) for name, *text in lines}
