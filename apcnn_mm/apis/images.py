"""Images as a test pipeline reads them: from files, or given as arrays."""

import os
import os.path as osp
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple, Union

import cv2
import numpy as np
import torch
from mmengine.logging import MMLogger
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import Dataset

from apcnn_runtime.files import list_folder

from ..arguments import check_type

InputType = Union[str, Path, np.ndarray]


class UnfitImageError(ValueError):
    """An image that can be read, but that the test pipeline cannot take."""


class Images(Dataset):
    """Images through a test pipeline.

    An item is what the pipeline packs or, for an image that cannot be read, the text of
    the error: one bad file must not end a long run. A fault of the pipeline is raised.

    Args:
        inputs (Sequence[str | Path | np.ndarray]): Paths of images, or images.
        loading (Callable): The transform that loads an image.
        pipeline (Callable): The transforms behind it.
    """

    def __init__(self, inputs: Sequence[InputType], loading: Callable, pipeline: Callable):
        self.inputs = inputs
        self.loading = loading
        self.pipeline = pipeline

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        try:
            results = read_image(self.inputs[index], self.loading)
        except Exception as error:  # loading transforms raise errors of all kinds
            return f'{type(error).__name__}: {error}'
        try:
            return process_image(results, self.pipeline)
        except UnfitImageError as error:
            return str(error)


class Batch(NamedTuple):
    """Some images, as far as they could be read.

    Attributes:
        errors (list[str | None]): For each image the text of an error, or None.
        groups (list[tuple]): Images of one size behind the pipeline: their places in the
            batch, the inputs (N, C, H, W) and the data samples.
    """

    errors: List[Optional[str]]
    groups: List[Tuple[List[int], Tensor, List[DataSample]]]


def collate_by_size(items: List[Union[dict, str]]) -> Batch:
    """Put images together so that no prediction depends on the sizes of others.

    Args:
        items (list[dict | str]): Those of :class:`Images`.

    Returns:
        Batch: The inputs of a group in one tensor, to be copied at once.
    """
    places = {}
    for i, item in enumerate(items):
        if not isinstance(item, str):
            inputs = item['inputs']
            places.setdefault((inputs.shape, inputs.dtype), []).append(i)
    groups = []
    for group in places.values():
        inputs = torch.stack([items[i]['inputs'] for i in group])
        groups.append((group, inputs, [items[i]['data_samples'] for i in group]))
    return Batch([item if isinstance(item, str) else None for item in items], groups)


def read_image(image: InputType, loading: Callable) -> dict:
    """Read an image as a pipeline does.

    Args:
        image (str | Path | np.ndarray): The path of an image, or an image, uint8: (H, W,
            3) BGR, (H, W, 4) BGRA, or (H, W) or (H, W, 1) grey.
        loading (Callable): The transform that loads an image.

    Returns:
        dict: ``img`` with its ``img_shape`` and ``ori_shape``, and what else it loads.

    Raises:
        Exception: What the transform raises.
        ValueError: If there is no image.
    """
    if isinstance(image, np.ndarray):
        image = _from_array(image, loading)
        return dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
    path = os.fspath(image)
    if osp.exists(path) and not osp.isfile(path):  # opening a pipe would wait for ever
        raise ValueError(
            f'{path} is a folder, pipe or device, not an image file, or a link to a '
            'folder that has been searched already.'
        )
    results = loading(dict(img_path=path))
    if results is None:  # as mmcv's transform may say it
        raise ValueError(f'{path} is not an image.')
    return results


def _from_array(image, loading):
    """What the transform would have loaded from a file."""
    shape = image.shape
    if (
        image.dtype != np.uint8
        or not image.size
        or not (len(shape) == 2 or len(shape) == 3 and shape[2] in (1, 3, 4))
    ):
        raise ValueError(
            'An image must be an array of uint8 and (H, W, 3) BGR, (H, W, 4) BGRA or '
            f'(H, W) grey, not of {image.dtype} and {shape}.'
        )
    # 'color' files are always read as BGR; other kinds are given as the model wants them.
    if getattr(loading, 'color_type', 'color').startswith('color'):
        if len(shape) == 2 or shape[2] == 1:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        elif shape[2] == 4:
            image = cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)
    return image.astype(np.float32) if getattr(loading, 'to_float32', False) else image


def process_image(results: dict, pipeline: Callable) -> dict:
    """Put an image through the transforms behind the loading.

    Args:
        results (dict): What :func:`read_image` gives.
        pipeline (Callable): These transforms.

    Returns:
        dict: ``inputs`` and ``data_samples``, for one image. The sample has the height
        and width of the whole image as ``picture_shape``.

    Raises:
        UnfitImageError: If the pipeline cannot take this image, such as one that is too
            small for it, although it takes ordinary ones.
        Exception: What a pipeline raises that takes no image.
    """
    image, picture_shape = results['img'], results['ori_shape'][:2]
    try:
        packed = pipeline(dict(results))
    except Exception as error:
        size = (512, 512)
        ordinary = np.zeros(size + image.shape[2:], image.dtype)
        pipeline(dict(results, img=ordinary, img_shape=size, ori_shape=size))
        raise UnfitImageError(
            f'The test pipeline cannot take this image of {picture_shape[1]} x '
            f'{picture_shape[0]} pixels: {type(error).__name__}: {error}'
        ) from error
    packed['data_samples'].set_metainfo(dict(picture_shape=picture_shape))
    return packed


def to_rgb(image: np.ndarray) -> np.ndarray:
    """An image as it was loaded, for a picture: (H, W, 3) RGB, uint8."""
    if image.dtype == np.uint16:
        image = image // 256
    image = image.clip(0, 255).astype(np.uint8)
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(image[..., 2::-1])


def list_images(
    inputs: Union[InputType, Sequence[InputType]],
) -> Tuple[List[InputType], List[str]]:
    """The images that someone means, and names for pictures of them.

    Args:
        inputs (str | Path | np.ndarray | Sequence): Paths of images, images, or a folder,
            which is searched with all its subfolders.

    Returns:
        tuple[list, list[str]]: Paths and images. And a relative path for each, the same
        for the same file only: as it lies in the folder or, without one, in the folder
        that all have in common. Images without a path are numbered.

    Raises:
        FileNotFoundError: If a folder has no images.
        TypeError: If an input is something else.
    """
    common = None
    if isinstance(inputs, (str, os.PathLike)) and osp.isdir(inputs):
        common = osp.abspath(inputs)
        inputs, note = list_folder(os.fspath(inputs))
        if note:
            MMLogger.get_current_instance().warning(note)
    elif isinstance(inputs, (str, os.PathLike, np.ndarray)):
        inputs = [inputs]
    check_type('inputs', inputs, Sequence)
    paths = {}
    for i, image in enumerate(inputs):
        check_type(f'inputs[{i}]', image, str, os.PathLike, np.ndarray)
        if not isinstance(image, np.ndarray):
            paths[i] = osp.abspath(image)
    common = common or osp.dirname(osp.commonprefix(list(paths.values())) + '_')
    names = [
        osp.relpath(paths[i], common) if i in paths else str(i) for i in range(len(inputs))
    ]
    return list(inputs), [f'{name}.jpg' for name in names]
