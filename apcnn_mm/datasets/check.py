"""Checks of the data sets of a config before training."""

import os.path as osp
from typing import Dict, List, Optional, Tuple

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.datasets import CUB, FGVCAircraft, StanfordCars

from ..geometry import KEEPING, ORIGINAL, keeps_original
from .splits import Picture, Split, build_splits, open_pictures, pipelines

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


def check_datasets(cfg: Config, processes: int = 1) -> Tuple[str, List[str]]:
    """Check files, images, splits and classes. Every image is opened as in training.

    Args:
        cfg (Config): A config.
        processes (int): Processes that open images. Defaults to 1: this one.

    Returns:
        tuple[str, list[str]]: What was found, and the problems. Without problems, the
        data are ready for training.
    """
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    splits, problems = build_splits(cfg)
    train = next((split for split in splits if split.name == 'train'), None)
    in_train = open_pictures(train, processes) if train else {}
    model = cfg.get('model', {})
    report = []
    for split in splits:
        pictures = in_train if split is train else open_pictures(split, processes)
        report.append(describe(split, pictures))
        problems.extend(check_images(split, pictures))
        problems.extend(check_classes(split, train, model))
        problems.extend(check_originals(split, model))
        if split is train:
            problems.extend(check_batch(split, cfg.train_dataloader, model))
            report.extend(describe_absent_classes(split))
        elif train is not None:
            problems.extend(check_overlap(split, train, {**in_train, **pictures}))
    return '\n'.join(report), problems


def describe(split: Split, pictures: Dict[str, Picture]) -> str:
    """What was found on the disk, and what the official data set has."""
    size = f'{len(split.paths)} images, {len(split.classes)} classes'
    text = [f'\n{split.name}: {size}']
    for kind, (title, num_classes, num_images) in OFFICIAL.items():
        if isinstance(split.dataset, kind):
            official = f'{num_images[split.dataset.split]} images, {num_classes} classes'
            if size == official:
                text.append(f'    as many as the official {title}')
            else:
                text.append(
                    f'    a subset or other data: the official {title} has {official}'
                )
    found = sum(pictures[path].error != 'missing' for path in split.paths)
    folder = osp.commonpath([osp.dirname(path) for path in split.paths])
    entries = {folder: f'{found} of {len(split.paths)} images found'}
    if getattr(split.dataset, 'ann_file', ''):
        entries[osp.abspath(split.dataset.ann_file)] = 'found'
    text.append(f'{split.root}/')
    for path, state in entries.items():
        text.append(f'    {osp.relpath(path, split.root):30}  {state}')
    return '\n'.join(text)


def describe_absent_classes(split: Split):
    """Classes without images, which may be meant so."""
    labels = {sample['gt_label'] for sample in split.samples}
    absent = [name for i, name in enumerate(split.classes) if i not in labels]
    if absent:
        yield f'classes without training images: {len(absent)}{lines(absent)}'


def check_images(split: Split, pictures: Dict[str, Picture]):
    """Problems with the files of the images."""
    broken = [
        f'{path}: {error}' if path not in error else error
        for path in split.paths
        if (error := pictures[path].error)
    ]
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


def check_batch(train: Split, loader: dict, model: dict):
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
            f'batch of {loader.batch_size}: set --cfg-options '
            f'train_dataloader.batch_size={max(2, len(train.samples))}'
        )


def check_classes(split: Split, train: Optional[Split], model: dict):
    """Problems with the classes."""
    if not split.classes:
        return
    where = f'{split.name} in {split.root}'
    num_classes = (model.get('head') or {}).get('num_classes')
    if len(split.classes) < 2:
        yield f'{where} has one class only, {split.classes[0]}: a classifier needs two'
    elif train is not None and split is not train:
        if split.classes != train.classes:
            yield f'{where} has other classes than train in {train.root}, or another order'
    elif num_classes not in (None, len(split.classes)):
        yield (
            f'model.head.num_classes is {num_classes}, but {where} has '
            f'{len(split.classes)} classes: set --cfg-options '
            f'model.head.num_classes={len(split.classes)}, or correct the data'
        )
    labels = {
        sample['gt_label']
        for sample in split.samples
        if np.ndim(sample.get('gt_label', ())) == 0  # strangers have none
    }
    unknown = sorted(labels.difference(range(len(split.classes))))
    if unknown:
        yield (
            f'{where} has images of the classes {unknown}, counted from 0, but only '
            f'{len(split.classes)} names of classes'
        )


def check_originals(split: Split, model: dict):
    """Problems with a second look at the original pictures."""
    kept = all(map(keeps_original, pipelines(split.dataset)))
    if model.get('refine_at') == ORIGINAL and not kept:
        yield (
            f"model.refine_at is 'original', but the pipeline of {split.name} keeps no "
            f'original pictures. {KEEPING}'
        )


def check_overlap(split: Split, train: Split, pictures: Dict[str, Picture]):
    """Images that are in training as well, under the same path or with the same pixels."""
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


def lines(items: List[str]) -> str:
    """Indented lines; of very many items the first ones."""
    shown = items[:100]
    if len(items) > len(shown):
        shown.append(f'... and {len(items) - len(shown)} more')
    return ''.join(f'\n    {item}' for item in shown)
