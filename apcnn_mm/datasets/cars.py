"""Stanford Cars with the boxes of its objects."""

import os
from typing import Sequence, Union

import mat4py
from mmpretrain.datasets import StanfordCars
from mmpretrain.registry import DATASETS

from ..arguments import check_choice
from .classes import read_classes, relabel
from .layout import check_layout, expand_root


@DATASETS.register_module()
class StanfordCarsWithBoxes(StanfordCars):
    """Stanford Cars in one of the two layouts of its site.

    On top of mmpretrain's :class:`StanfordCars`, each image has its ``object_box``:
    (x1, y1, x2, y2) in pixels of the original image, as float list. The files count
    pixels from 1 and name the first and the last pixel of the object; here x1 and y1 are
    one less, so that x2 - x1 is the width, as in the other data sets. It is for
    evaluation; AP-CNN does not learn from it.

    Args:
        data_root (str): The folder with ``cars_annos.mat`` and ``car_ims/``, or with
            ``cars_train/``, ``cars_test/`` and ``devkit/``.
        split (str): 'train' or 'test'. Defaults to 'train'.
        classes (str | Sequence[str], optional): The names of the models in the order of
            the labels, or a text file with them. Defaults to None: mmpretrain's order.
        **kwargs: Other arguments of :class:`StanfordCars`.

    Raises:
        FileNotFoundError: If a file is missing. The message shows the expected trees.
        ValueError: If the annotations have no classes, or ``classes`` are not the models.
    """

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        classes: Union[str, Sequence[str], None] = None,
        **kwargs,
    ):
        check_choice('StanfordCarsWithBoxes.split', split, ('train', 'test'))
        data_root = expand_root(data_root)
        one_folder = {
            'cars_annos.mat': 'classes and boxes of both splits',
            'car_ims/': 'IMAGE.jpg',
        }
        two_folders = {
            'train': {
                'cars_train/': 'IMAGE.jpg',
                'devkit/cars_train_annos.mat': 'classes and boxes',
            },
            'test': {
                'cars_test/': 'IMAGE.jpg',
                'devkit/cars_test_annos_withlabels.mat': 'classes and boxes; on the site '
                "it lies beside the devkit's archive: move it into devkit/",
            },
        }[split]
        if os.path.isfile(os.path.join(data_root, 'cars_annos.mat')):
            # The parent goes by this file alone.
            one_folder['car_ims/'] += (
                '; if you have cars_train/ and cars_test/ instead, remove cars_annos.mat'
            )
            check_layout(data_root, one_folder, 'Stanford Cars')
        else:
            check_layout(data_root, one_folder, 'Stanford Cars', two_folders)
        super().__init__(data_root, split, classes=read_classes(classes), **kwargs)

    def load_data_list(self):
        """Load image paths, labels and object boxes."""
        annotations = mat4py.loadmat(self.ann_file)['annotations']
        if 'class' not in annotations:
            raise ValueError(
                f"{os.path.abspath(self.ann_file)} has no classes. It is the devkit's "
                'cars_test_annos.mat, made for a challenge, under another name. Get '
                'cars_test_annos_withlabels.mat, which lies beside the devkit on the site '
                'of Stanford Cars, and put it into devkit/.'
            )
        data_list = super().load_data_list()
        names = annotations.get('relative_im_path') or annotations['fname']
        sides = (annotations[f'bbox_{side}'] for side in ('x1', 'y1', 'x2', 'y2'))
        boxes = {
            self.backend.join_path(self.img_prefix, name): [x1 - 1, y1 - 1, x2, y2]
            for name, x1, y1, x2, y2 in zip(names, *sides)
        }
        for info in data_list:
            info['object_box'] = [float(side) for side in boxes[info['img_path']]]
        return relabel(data_list, self.METAINFO['classes'], self.CLASSES, self.data_root)
