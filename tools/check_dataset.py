"""Check the data sets of a config before training: files, images, splits and classes.

    python tools/check_dataset.py CONFIG --cfg-options data_root=/path

Every image is opened. The exit status is 0 if the data are ready for training.
"""

import argparse
import hashlib
import io
import os
import os.path as osp
import sys
from typing import NamedTuple, Optional, Tuple

import _script  # noqa: F401
import mmcv
from mmengine.registry import init_default_scope
from mmengine.utils import track_parallel_progress
from mmpretrain.datasets import CUB, FGVCAircraft, StanfordCars
from mmpretrain.registry import DATASETS
from PIL import Image

from apcnn_mm.launch import add_arguments, load_config

# Name, number of classes, and number of images of each split.
OFFICIAL = {
    CUB: ('CUB-200-2011', 200, dict(train=5994, test=5794)),
    StanfordCars: ('Stanford Cars', 196, dict(train=8144, test=8041)),
    FGVCAircraft: (
        'FGVC-Aircraft',
        100,
        dict(train=3334, val=3333, trainval=6667, test=3333),
    ),
}


class Picture(NamedTuple):
    """What an image file holds, or why it is of no use."""

    size: Optional[Tuple[int, int]] = None  # (width, height)
    digest: Optional[str] = None  # of the file's bytes
    error: Optional[str] = None


class Split(NamedTuple):
    """A data set of the config."""

    name: str
    dataset: object
    samples: list

    @property
    def paths(self):
        return [osp.abspath(sample['img_path']) for sample in self.samples]

    @property
    def classes(self):
        return list(self.dataset.metainfo.get('classes') or ())

    @property
    def root(self):
        # Data sets that join others, for example, have none of their own.
        root = getattr(self.dataset, 'data_root', None)
        return osp.abspath(root) if root else osp.commonpath(self.paths)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    return parser.parse_args()


def build_splits(cfg):
    """The splits, and why some of them cannot be built."""
    loaders = {name: cfg.get(f'{name}_dataloader') for name in ('train', 'val', 'test')}
    configs = {name: loader.dataset for name, loader in loaders.items() if loader}
    if 'val' in configs and configs['val'] == configs.get('test'):
        configs['val and test'] = configs.pop('val')
        del configs['test']
    splits, errors = [], {}
    for name, config in configs.items():
        try:
            dataset = DATASETS.build(config)
            samples = [dataset.get_data_info(i) for i in range(len(dataset))]
        except Exception as error:  # whatever it is, training would end with it
            errors.setdefault(f'{type(error).__name__}: {error}', []).append(name)
        else:
            splits.append(Split(name, dataset, samples))
    return splits, [f'{", ".join(names)}: {error}' for error, names in errors.items()]


def open_picture(path):
    """Decode an image with OpenCV, as training does, and with Pillow.

    Pillow says what is wrong, and refuses truncated files, which some releases of OpenCV
    fill up.
    """
    try:
        with open(path, 'rb') as file:
            content = file.read()
        with Image.open(io.BytesIO(content)) as image:
            image.load()
        image = mmcv.imfrombytes(content)
    except FileNotFoundError:
        return Picture(error='missing')
    except Exception as error:  # decoders raise errors of all kinds
        return Picture(error=f'{type(error).__name__}: {error}')
    if image is None:
        return Picture(error='OpenCV cannot read it')
    height, width = image.shape[:2]
    return Picture((width, height), hashlib.sha1(content).hexdigest())


def print_split(split, pictures):
    """What was found on the disk, and what the official data set has."""
    size = f'{len(split.paths)} images, {len(split.classes)} classes'
    print(f'\n{split.name}: {size}')
    for kind, (title, num_classes, num_images) in OFFICIAL.items():
        if isinstance(split.dataset, kind):
            official = f'{num_images[split.dataset.split]} images, {num_classes} classes'
            if size == official:
                print(f'    as many as the official {title}')
            else:
                print(f'    a subset or other data: the official {title} has {official}')
    found = sum(pictures[path].error != 'missing' for path in split.paths)
    folder = osp.commonpath([osp.dirname(path) for path in split.paths])
    entries = {folder: f'{found} of {len(split.paths)} images found'}
    if getattr(split.dataset, 'ann_file', ''):
        entries[osp.abspath(split.dataset.ann_file)] = 'found'
    print(f'{split.root}/')
    for path, text in entries.items():
        print(f'    {osp.relpath(path, split.root):30}  {text}')


def check_images(split, pictures):
    """Problems with the files of the images."""
    broken = [f'{path}: {e}' for path in split.paths if (e := pictures[path].error)]
    if broken:
        yield (
            f'{split.name}: {len(broken)} of {len(split.paths)} images cannot be read:'
            f'{lines(broken)}'
        )
    boxes = [
        (sample['object_box'], pictures[path].size)
        for sample, path in zip(split.samples, split.paths)
        if 'object_box' in sample and pictures[path].size
    ]
    # Of the original images this is true of a few at most.
    cropped = [
        x2 > width + 1 or y2 > height + 1 or (x2 - x1 > width - 2 and y2 - y1 > height - 2)
        for (x1, y1, x2, y2), (width, height) in boxes
    ]
    if sum(cropped) > len(boxes) / 2:
        yield (
            f'{split.name}: in {sum(cropped)} of {len(boxes)} images the box of the object '
            'reaches past the image or covers all of it. These are copies, cropped to the '
            f'objects, or resized: get the original images for {split.root}'
        )


def check_batch(train, loader, model):
    """Problems with the batch size."""
    if model.get('type') == 'APCNN' and loader.batch_size < 2:
        yield (
            'AP-CNN cannot train on a batch of one image: set --cfg-options '
            'train_dataloader.batch_size'
        )
    # The incomplete last batch is dropped: with fewer images nothing is trained.
    if loader.get('drop_last') and len(train.samples) < loader.batch_size:
        yield (
            f'train in {train.root} has {len(train.samples)} images, which do not fill a '
            f'batch of {loader.batch_size}: set --cfg-options train_dataloader.batch_size'
        )


def check_classes(split, train, num_classes):
    """Problems with the classes."""
    if not split.classes:
        return
    where = f'{split.name} in {split.root}'
    if train is not None and split is not train:
        if split.classes != train.classes:
            yield f'{where} has other classes than train in {train.root}, or another order'
    elif num_classes not in (None, len(split.classes)):
        yield (
            f'model.head.num_classes is {num_classes}, but {where} has '
            f'{len(split.classes)} classes: set --cfg-options '
            f'model.head.num_classes={len(split.classes)}, or correct the data'
        )
    labels = {sample['gt_label'] for sample in split.samples if 'gt_label' in sample}
    unknown = sorted(labels.difference(range(len(split.classes))))
    if unknown:
        yield (
            f'{where} has images of the classes {unknown}, counted from 0, but only '
            f'{len(split.classes)} names of classes'
        )


def check_overlap(split, train, pictures):
    """Images that are in training as well, under the same path or with the same content."""
    in_train = {pictures[path].digest or path: path for path in train.paths}
    shared = [
        path if path == twin else f'{path} has the same content as {twin}'
        for path in split.paths
        if (twin := in_train.get(pictures[path].digest or path))
    ]
    if shared:
        yield (
            f'{split.name}: {len(shared)} of {len(split.paths)} images are in train as '
            f'well:{lines(shared)}'
        )


def lines(items):
    """Indented lines; of very many items the first ones."""
    shown = items[:100]
    if len(items) > len(shown):
        shown.append(f'... and {len(items) - len(shown)} more')
    return ''.join(f'\n    {item}' for item in shown)


def main():
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    splits, problems = build_splits(cfg)
    paths = sorted({path for split in splits for path in split.paths})
    opened = track_parallel_progress(
        open_picture, paths, os.cpu_count(), chunksize=8, file=sys.stderr
    )
    pictures = dict(zip(paths, opened))

    train = next((split for split in splits if split.name == 'train'), None)
    num_classes = cfg.get('model', {}).get('head', {}).get('num_classes')
    for split in splits:
        print_split(split, pictures)
        problems.extend(check_images(split, pictures))
        problems.extend(check_classes(split, train, num_classes))
        if split is train:
            problems.extend(check_batch(split, cfg.train_dataloader, cfg.model))
            labels = {sample['gt_label'] for sample in split.samples}
            absent = [c for i, c in enumerate(split.classes) if i not in labels]
            if absent:
                print(f'classes without training images: {len(absent)}{lines(absent)}')
        elif train is not None:
            problems.extend(check_overlap(split, train, pictures))
    for problem in problems:
        print(f'\nPROBLEM: {problem}')
    if problems:
        print(f'\nNot ready for training. Problems, listed above: {len(problems)}.')
    else:
        print('\nAll is well: the data are ready for training.')
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
