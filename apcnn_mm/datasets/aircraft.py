"""FGVC-Aircraft with the boxes of its objects."""

import os

from mmengine import list_from_file
from mmpretrain.datasets import FGVCAircraft
from mmpretrain.registry import DATASETS

from .layout import check_layout


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
        **kwargs: Other arguments of :class:`FGVCAircraft`.

    Raises:
        FileNotFoundError: If a file is missing. The message shows the expected tree.
    """

    def __init__(self, data_root: str, split: str = 'trainval', **kwargs):
        splits = ('train', 'val', 'trainval', 'test')
        if split not in splits:
            raise ValueError(f'split must be one of {splits}, not {split!r}.')
        data_root = os.path.expanduser(data_root)
        self._has_data_folder = os.path.isdir(os.path.join(data_root, 'data'))
        entries = {
            'images/': 'IMAGE.jpg',
            f'images_variant_{split}.txt': 'image and class',
            'images_box.txt': 'image, xmin, ymin, xmax, ymax',
        }
        in_data = {f'data/{name}': text for name, text in entries.items()}
        layouts = [in_data] if self._has_data_folder else [in_data, entries]
        check_layout(data_root, layouts[0], 'FGVC-Aircraft', *layouts[1:])
        super().__init__(data_root, split, **kwargs)

    def _join_prefix(self):
        """The parent's paths are those in ``data/``."""
        if not self._has_data_folder:
            self.ann_file = os.path.basename(self.ann_file)
            self.data_prefix = dict(img_path='images')
        super()._join_prefix()

    def load_data_list(self):
        """Load image paths, labels and object boxes."""
        folder = os.path.dirname(self.ann_file)
        file = os.path.join(folder, 'images_box.txt')
        boxes = {}
        for line in list_from_file(file):
            name, *sides = line.split()
            x1, y1, x2, y2 = map(float, sides)
            boxes[f'{name}.jpg'] = [x1 - 1, y1 - 1, x2, y2]
        data_list = super().load_data_list()
        for info in data_list:
            name = os.path.basename(info['img_path'])
            if name not in boxes:
                raise ValueError(f'{os.path.abspath(file)} has no box of {name}.')
            info['object_box'] = boxes[name]
        return data_list
