"""Resizing as Pillow does it, in a fraction of its time."""

from typing import Any, Sequence, Tuple, Union

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

from ..arguments import check_number, check_numbers


@TRANSFORMS.register_module()
class AntialiasedResize(BaseTransform):
    """Resize an image, bilinear, with antialiasing where it shrinks.

    The result is that of mmcv's ``Resize`` with ``backend='pillow'`` to within one grey
    level, also of an image that :class:`LoadImage` has decoded at a fraction of its size.
    Images that grow need no antialiasing: there it is OpenCV's resizing, otherwise
    PyTorch's.

    **Required Keys:**

    - img

    **Modified Keys:**

    - img
    - img_shape

    **Added Keys:**

    - scale_factor: from the image's pixels in the file to those of the result, (width,
      height)

    Args:
        scale (int | tuple[int, int]): The new size, (width, height), or one number for
            both.
    """

    def __init__(self, scale: Union[int, Tuple[int, int]]):
        self.scale = to_size('AntialiasedResize.scale', scale)

    def transform(self, results: dict) -> dict:
        """Resize the image.

        Args:
            results (dict): The image, (H, W, C) or (H, W), of uint8 or float32.

        Returns:
            dict: The same with the resized image.

        Raises:
            ValueError: If the image has another type of numbers, or if ``LoadImage`` has
                a smaller ``scale_hint`` than this ``scale``.
        """
        image = results['img']
        self._check(results)
        height, width = image.shape[:2]
        # LoadImage may have decoded it at a fraction of its size.
        scale_x, scale_y = results.get('scale_factor', (1.0, 1.0))
        results['scale_factor'] = (
            self.scale[0] / width * scale_x,
            self.scale[1] / height * scale_y,
        )
        results['img'] = resize(image, self.scale)
        results['img_shape'] = results['img'].shape[:2]
        return results

    def _check(self, results):
        path, dtype = results.get('img_path', 'An image'), results['img'].dtype
        if dtype not in (np.uint8, np.float32):
            raise ValueError(
                f'{path} has pixels of {dtype}, of which AntialiasedResize knows uint8 and '
                "float32 only. Let it be loaded with color_type='color'."
            )
        hint = results.get('scale_hint', self.scale)
        if any(map(int.__lt__, hint, self.scale)):
            raise ValueError(
                f'LoadImage decodes for a size of {hint}, but AntialiasedResize has '
                f'scale={self.scale}. Set scale_hint={self.scale} of LoadImage in the same '
                'pipeline.'
            )

    def __repr__(self):
        return f'{type(self).__name__}(scale={self.scale})'


def resize(image: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Resize an image, with antialiasing where it shrinks.

    Args:
        image (np.ndarray): (H, W, C) or (H, W), of uint8 or float32.
        size (tuple[int, int]): The new width and height.

    Returns:
        np.ndarray: The resized image, (height, width, C) or (height, width). In memory
        the channels lie one after the other, as the network's input has them.
    """
    width, height = size
    if height >= image.shape[0] and width >= image.shape[1]:
        resized = np.empty((*image.shape[2:], height, width), image.dtype)
        resized = resized.reshape(-1, height, width)
        plane = None  # memory to use again: new memory costs as much time as resizing
        for channel, target in enumerate(resized):
            plane = cv2.extractChannel(image, channel, plane)
            cv2.resize(plane, size, dst=target, interpolation=cv2.INTER_LINEAR)
    else:
        pixels = np.ascontiguousarray(image).reshape(*image.shape[:2], -1)
        resized = F.interpolate(
            torch.from_numpy(pixels).permute(2, 0, 1)[None],
            size=(height, width),
            mode='bilinear',
            antialias=True,
        )[0].numpy()
    return resized.transpose(1, 2, 0).reshape(height, width, *image.shape[2:])


def to_size(name: str, value: Any) -> Tuple[int, int]:
    """A size as mmcv's transforms take it, checked.

    Args:
        name (str): What the user calls it.
        value (Any): (width, height), or one number for both.

    Returns:
        tuple[int, int]: (width, height).

    Raises:
        TypeError: If it is something else.
        ValueError: If there are not two numbers, or they are not positive.
    """
    if isinstance(value, Sequence):
        check_numbers(name, value, length=2, minimum=1, integer=True)
        return tuple(value)
    check_number(name, value, minimum=1, integer=True)
    return value, value
