"""Split class folders for training, validation and test."""

import os
import os.path as osp
import random
import shutil
import sys
import tempfile
from typing import Dict, List, Optional

import numpy as np
from mmengine.utils import track_iter_progress
from PIL import Image, ImageOps

from apcnn_runtime.files import IMAGE_EXTENSIONS, find_files, find_folders

from ..arguments import check_choice, check_number
from .layout import warn_of_unused
from .loading import MAX_PIXELS, image_size

# Of 256 bits. On 31,000 pairs of different birds of CUB-200-2011, 3 were as near; copies in
# another size, quality or contrast, and cut by 2 %, are nearer.
NEAR = 40


def split_folders(
    root: str,
    out: str,
    val: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    copy: bool = False,
) -> Dict[str, Dict[str, int]]:
    """Make ``train/``, ``val/`` and, where wanted, ``test/`` of class folders.

    Each class is split by itself. Near-duplicates of a class, such as a series of
    photographs or copies in several sizes, stay together, so that validation does not
    see what was trained on.

    The pictures are hard links: they take no space, and stay when the originals are moved
    or removed, and the other way round. Where the file system has none, or ``out`` is on
    another one, they are symbolic links.

    Args:
        root (str): The folder with the class folders. It is not changed.
        out (str): The folder to make. It appears when it is complete.
        val (float): The share of the pictures for validation. Defaults to 0.2.
        test (float): The share of the pictures for the test. Defaults to 0: no test.
        seed (int): The same seed gives the same split. Defaults to 0.
        copy (bool): Whether to copy the pictures. Defaults to False.

    Returns:
        dict[str, dict[str, int]]: The number of pictures of each split and class.

    Raises:
        FileNotFoundError: If ``root`` is missing.
        ValueError: If ``root`` has less than two class folders with pictures, or is split
            already, if ``out`` is not empty or in ``root``, or if the shares leave nothing
            for training.
    """
    check_number('val', val, above=0, below=1)
    check_number('test', test, minimum=0, below=1)
    check_number('seed', seed, integer=True)
    check_choice('copy', copy, (True, False))
    if val + test >= 1:
        raise ValueError(f'val + test must be below 1, not {val + test}.')
    root, out = osp.abspath(osp.expanduser(root)), osp.abspath(osp.expanduser(out))
    classes = _find_classes(root)
    if osp.lexists(out) and not (osp.isdir(out) and not os.listdir(out)):
        raise ValueError(f'{out} is there already, and not empty. Choose another folder.')
    if osp.realpath(out).startswith(osp.join(osp.realpath(root), '')):
        raise ValueError(f'{out} lies in {root}, where it would count as a class.')

    shares = {name: share for name, share in (('val', val), ('test', test)) if share}
    hashes = {}
    pictures = [path for paths in classes.values() for path in paths]
    for path in track_iter_progress(pictures, file=sys.stderr):
        hashes[path] = difference_hash(osp.join(root, path))
    plan = {name: {} for name in ('train', *shares)}
    for name, paths in classes.items():
        groups = group_near(paths, hashes)
        random.Random(f'{seed}/{name}').shuffle(groups)
        for split, chosen in _divide(groups, shares).items():
            plan[split][name] = chosen

    os.makedirs(osp.dirname(out), exist_ok=True)
    # Complete or not there: a run that is stopped leaves a hidden folder at most.
    with tempfile.TemporaryDirectory(
        dir=osp.dirname(out), prefix=f'.{osp.basename(out)}.'
    ) as unfinished:
        folder = osp.join(unfinished, 'split')
        for split, by_class in plan.items():
            for name, paths in by_class.items():
                os.makedirs(osp.join(folder, split, name))
                for path in paths:
                    _place(osp.join(root, path), osp.join(folder, split, path), copy)
        if osp.isdir(out):
            os.rmdir(out)
        os.replace(folder, out)
    return {
        split: {name: len(paths) for name, paths in by_class.items()}
        for split, by_class in plan.items()
    }


def difference_hash(path: str, size: int = 16) -> Optional[np.ndarray]:
    """Whether each cell of a small grey picture is brighter than the one on its left.

    Copies in another size, quality or brightness have nearly the same hash.

    Args:
        path (str): An image file.
        size (int): Rows and columns. Defaults to 16.

    Returns:
        np.ndarray | None: (size * size,) bool; None where Pillow cannot read the file, or
        it has too many pixels.
    """
    try:
        with open(path, 'rb') as file:
            width, height = image_size(file.read()) or (0, 0)
        if not 0 < width * height <= MAX_PIXELS:
            return None
        with Image.open(path) as image:
            image.draft('L', (8 * size, 8 * size))
            grey = ImageOps.exif_transpose(image).convert('L')
    except Exception:  # Pillow raises errors of all kinds; the check names such files
        return None
    cells = np.asarray(grey.resize((size + 1, size), Image.Resampling.BOX), dtype=int)
    return (cells[:, 1:] > cells[:, :-1]).ravel()


def group_near(
    paths: List[str], hashes: Dict[str, Optional[np.ndarray]]
) -> List[List[str]]:
    """Group near-duplicates, and what is near to one of a group.

    Args:
        paths (list[str]): The pictures.
        hashes (dict[str, np.ndarray | None]): Their hashes. None is near to nothing.

    Returns:
        list[list[str]]: The groups, most of them of one picture, in the given order.
    """
    known = [path for path in paths if hashes[path] is not None]
    bits = np.array([hashes[path] for path in known], dtype=np.float32)
    ones = bits.sum(-1)
    number = np.arange(len(known))  # of the group
    for i in range(1, len(known)):
        # Bits that differ between rows a and b: a + b - 2 a b.
        differing = ones[:i] + ones[i] - 2 * bits[:i] @ bits[i]
        near = number[:i][differing <= NEAR]
        number[:i][np.isin(number[:i], near)] = number[i]
    numbers, groups = dict(zip(known, number.tolist())), {}
    for path in paths:
        groups.setdefault(numbers.get(path, path), []).append(path)
    return list(groups.values())


def _find_classes(root):
    """The pictures of each class, as paths in ``root``."""
    if not osp.isdir(root):
        raise FileNotFoundError(f'There is no folder {root}.')
    folders = find_folders(root)
    for name in sorted({'train', 'val'} & set(folders)):
        # With pictures in it, it is a class: a locomotive.
        inside = os.listdir(osp.join(root, name))
        has_images = any(entry.lower().endswith(IMAGE_EXTENSIONS) for entry in inside)
        if find_folders(osp.join(root, name)) and not has_images:
            raise ValueError(
                f'{root} is split already: there is {root}/{name} with class folders. Give '
                'the folder of the class folders.'
            )
    classes, loose = {name: [] for name in folders}, []
    found = find_files(root)
    for path in found.images:
        name, *inside = path.split(os.sep, 1)
        (classes[name] if inside else loose).append(path)
    others = {
        'folders have no images and are left out': [n for n in folders if not classes[n]],
        'images lie beside the class folders and are not used': loose,
    }
    warn_of_unused(root, found, others)
    classes = {name: paths for name, paths in classes.items() if paths}
    if len(classes) < 2:
        raise ValueError(
            f'{root} has {len(classes)} folder(s) with pictures, {sorted(classes)}. Give '
            'the folder with one folder for each class, two or more. Pictures end in '
            f'{", ".join(IMAGE_EXTENSIONS)}.'
        )
    return classes


def _divide(groups, shares):
    """Whole groups for each split; what is left over is for training."""
    total = sum(map(len, groups))
    waiting, result = list(groups), {}
    for split, share in shares.items():
        chosen, room = [], max(1, round(share * total))
        for group in list(waiting):
            # One group at least stays for training.
            if len(group) <= room and len(waiting) > 1:
                chosen += group
                room -= len(group)
                waiting.remove(group)
        result[split] = sorted(chosen)
    return {'train': sorted(path for group in waiting for path in group), **result}


def _place(source, target, copy):
    os.makedirs(osp.dirname(target), exist_ok=True)
    source = osp.realpath(source)
    if copy:
        shutil.copy2(source, target)
        return
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        os.symlink(source, target)
