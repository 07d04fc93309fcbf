"""CUB-200-2011 with the boxes of its objects."""

import os
from typing import Sequence, Union

from mmpretrain.datasets import CUB
from mmpretrain.registry import DATASETS

from apcnn_runtime.files import read_lines

from ..arguments import check_choice
from .classes import read_classes, relabel
from .layout import check_layout, expand_root, read_numbers


@DATASETS.register_module()
class CUBWithBoxes(CUB):
    """CUB-200-2011 from its original folder, or a data set in the same layout.

    On top of mmpretrain's :class:`CUB`, the class names come from the folder's own
    ``classes.txt``, so that subsets and other data in this layout work, and each image
    has its ``object_box``: (x1, y1, x2, y2) in pixels of the original image, as float
    list, and, where the folder has ``parts/part_locs.txt``, its ``object_parts``: a list
    of the places (x, y) of the visible ones. They are for evaluation and figures; AP-CNN
    does not learn from them.

    Args:
        data_root (str): The folder with ``images.txt``.
        split (str): 'train' or 'test'. Defaults to 'train'.
        classes (str | Sequence[str], optional): The names of ``classes.txt`` in the order
            of the labels, or a text file with them. Defaults to None: that of the file.
        **kwargs: Other arguments of :class:`CUB`.

    Raises:
        FileNotFoundError: If a file is missing. The message shows the expected tree.
        ValueError: If a file is spoilt, or ``classes`` are not those of the folder.
    """

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        classes: Union[str, Sequence[str], None] = None,
        **kwargs,
    ):
        check_choice('CUBWithBoxes.split', split, ('train', 'test'))
        data_root = expand_root(data_root)
        check_layout(
            data_root,
            {
                'images/': 'CLASS/IMAGE.jpg',
                'images.txt': 'image number and file',
                'image_class_labels.txt': 'image number and class number',
                'train_test_split.txt': 'image number and 1 (training) or 0 (test)',
                'classes.txt': 'class number and name',
                'bounding_boxes.txt': 'image number, x, y, width, height',
            },
            'CUB-200-2011',
        )
        # mmpretrain's own names are those of all 200 classes.
        self.names = _read_pairs(os.path.join(data_root, 'classes.txt'))
        if classes is None:
            classes = list(self.names.values())
        super().__init__(data_root, split, classes=read_classes(classes), **kwargs)

    def load_data_list(self):
        """Load image paths, labels and object boxes."""
        file = os.path.abspath(os.path.join(self.data_root, 'bounding_boxes.txt'))
        boxes = {}
        for number, x, y, width, height in read_numbers(file, 5):
            boxes[number] = [x, y, x + width, y + height]
        parts = self._load_parts()
        data_list = super().load_data_list()
        # The parent keeps the order of images.txt, but not the image numbers.
        files = self._load_data_from_txt(self.ann_file)
        numbers = {
            self.backend.join_path(self.img_prefix, file): index + 1
            for index, file in files.items()
        }
        labels = {number: label for label, number in enumerate(self.names)}
        for info in data_list:
            number = numbers[info['img_path']]
            # The parent counts on classes 1, 2, 3 ..., in this order.
            class_number = info['gt_label'] + 1
            if class_number not in labels:
                raise ValueError(
                    f'{os.path.abspath(self.data_root)}/classes.txt has no class '
                    f'{class_number}, which image_class_labels.txt gives image {number}.'
                )
            info['gt_label'] = labels[class_number]
            if number not in boxes:
                raise ValueError(f'{file} has no box of image {number}.')
            info['object_box'] = boxes[number]
            if parts is not None:
                info['object_parts'] = parts.get(number, [])
        names = list(self.names.values())
        return relabel(data_list, names, self.CLASSES, self.data_root)

    def _load_parts(self):
        """The visible parts of each image, by its number. None without their file."""
        file = os.path.abspath(os.path.join(self.data_root, 'parts', 'part_locs.txt'))
        if not os.path.isfile(file):
            return None
        parts = {}
        for number, _, x, y, visible in read_numbers(file, 5):
            if visible:
                parts.setdefault(number, []).append([x, y])
        return parts

    def _load_data_from_txt(self, filepath):
        """The parent's, for files with a byte order mark and names with white space."""
        return {number - 1: text for number, text in _read_pairs(filepath).items()}


def _read_pairs(file):
    """The lines of a file, each a number and a text, by number in their order."""
    pairs = {}
    for i, line in read_lines(file).items():
        number, *text = line.split(maxsplit=1)
        if not number.isdecimal() or not text:
            raise ValueError(
                f'{os.path.abspath(file)}, line {i}: {line!r} is not a number and a text.'
            )
        pairs[int(number)] = text[0]
    return pairs
