"""The picture as it was loaded, beside the input that is made of it."""

import random
from functools import lru_cache
from typing import Optional, Sequence, Tuple

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

from ..arguments import check_config, check_number, check_type
from ..geometry import ORIGINAL, RESIZING, Original
from .resize import resize

# How far coordinates may lie from a straight line, in pixels. Crops and flips are exact;
# antialiasing averages places with weights that are off by up to 0.03 pixels.
TOLERANCE = 0.1
# The share of the image where they must: the rest may be padding.
MINIMUM = 0.25


@TRANSFORMS.register_module()
class KeepOriginal(BaseTransform):
    """Keep the original picture for a second look, and make the input of it.

    A model with ``refine_at='original'`` cuts its second look out of this picture. The
    transforms in here, which resize, crop, pad and flip, make the input as they would
    without this one around them. Where a pixel of the input comes from is found by an
    image of coordinates, to which each but a plain resizing is applied with the same
    random numbers: stock and own transforms need not tell what they do.

    ``PackInputs`` behind it needs ``algorithm_keys=('original',)``.

    **Required Keys:**

    - img

    **Modified Keys:**

    - those of its transforms

    **Added Keys:**

    - original (:class:`Original`)
    - scale_factor (where the picture is larger than ``max_size``)

    Args:
        transforms (Sequence[dict]): The transforms that turn the picture into the input.
            They draw random numbers from the global generators of Python, NumPy or
            PyTorch, as those of mmcv and mmpretrain do. Changes of colour go before this
            transform, for both looks, or behind it, for the first one alone.
        max_size (int): The longest side of the picture that is kept. Larger ones are
            shrunk to it at once, with antialiasing: a photograph of 12 megapixels takes
            36 MB, and the second look sees no more detail than it has pixels.
    """

    def __init__(self, transforms: Sequence[dict], max_size: int):
        check_type('KeepOriginal.transforms', transforms, list, tuple)
        for i, transform in enumerate(transforms):
            if not callable(transform):
                check_config(f'KeepOriginal.transforms[{i}]', transform)
        check_number('KeepOriginal.max_size', max_size, minimum=2, integer=True)
        self.transforms = [t if callable(t) else TRANSFORMS.build(t) for t in transforms]
        self.max_size = max_size

    def transform(self, results: dict) -> Optional[dict]:
        """Keep the picture and make the input.

        Args:
            results (dict): The picture, (H, W, C) or (H, W).

        Returns:
            dict | None: The same with the input and the picture. None where one of the
            transforms gives none.

        Raises:
            ValueError: If ``LoadImage`` may decode the picture smaller than ``max_size``,
                or if the input is not the picture resized, cropped, padded and flipped.
        """
        results = self._shrink(results)
        picture, view = results['img'], (1.0, 1.0, 0.0, 0.0)
        for transform in self.transforms:
            resizes = type(transform).__name__ in RESIZING
            given, state = dict(results), None if resizes else _random_state()
            results = transform(results)
            if results is None:
                return None
            before, after = (r['img'].shape[:2] for r in (given, results))
            if resizes:
                step = before[1] / after[1], before[0] / after[0], 0.0, 0.0
            else:
                step = self._follow(transform, given, state, after)
            view = (
                view[0] * step[0],
                view[1] * step[1],
                view[0] * step[2] + view[2],
                view[1] * step[3] + view[3],
            )
        # A copy: transforms behind this one may change the input in place.
        pixels = torch.from_numpy(picture.reshape(*picture.shape[:2], -1).copy())
        noted = {k: results.get(k) for k in ('img_shape', 'flip', 'flip_direction')}
        results[ORIGINAL] = Original(pixels, view, noted)
        return results

    @staticmethod
    def _follow(transform, given, state, after):
        """Where the image behind a transform lies in that before it, a view."""
        name, before = type(transform).__name__, given['img'].shape[:2]
        _set_random_state(state)
        try:
            image = transform(dict(given, img=coordinates(*before)))['img']
        except Exception as error:  # transforms raise errors of all kinds
            raise ValueError(
                f'KeepOriginal cannot follow {name}, which takes no image of float32: '
                f'{error} Put changes of colour before KeepOriginal, and do not resize by '
                'Pillow.'
            ) from error
        view = find_view(image, before)
        if view is None or image.shape[:2] != after:
            raise ValueError(
                f'{given.get("img_path", "An image")} of {before[1]} x {before[0]} pixels: '
                f'KeepOriginal cannot tell what part of it {name} gives. Its transforms '
                'may resize, crop, pad and flip images of at least 2 x 2 pixels.'
            )
        return view

    def _shrink(self, results):
        height, width = results['img'].shape[:2]
        hint = results.get('scale_hint')
        if hint is not None and max(hint) < self.max_size:
            raise ValueError(
                f'LoadImage decodes for a size of {hint}, but KeepOriginal has '
                f'max_size={self.max_size}. Set scale_hint={self.max_size} of LoadImage '
                'in the same pipeline, or leave it out.'
            )
        scale = self.max_size / max(height, width)
        if scale >= 1:
            return results
        size = [max(1, round(side * scale)) for side in (width, height)]
        # LoadImage may have decoded it at a fraction of its size.
        scale_x, scale_y = results.get('scale_factor', (1.0, 1.0))
        image = resize(results['img'], size)
        return dict(
            results,
            img=image,
            img_shape=image.shape[:2],
            scale_factor=(size[0] / width * scale_x, size[1] / height * scale_y),
        )

    def __repr__(self):
        return (
            f'{type(self).__name__}(transforms={self.transforms}, max_size={self.max_size})'
        )


@lru_cache(maxsize=4)
def coordinates(height: int, width: int) -> np.ndarray:
    """An image that says where each of its pixels lies.

    Args:
        height (int): The height of the image.
        width (int): Its width.

    Returns:
        np.ndarray: (height, width, 3), float32: x and y of the pixels' centres, and 1. It
        is made once for images of a size, and cannot be written to.
    """
    image = np.ones((height, width, 3), np.float32)
    image[..., 0] = np.arange(width) + 0.5
    image[..., 1] = np.arange(height)[:, None] + 0.5
    image.flags.writeable = False
    return image


def find_view(image: np.ndarray, size: Tuple[int, int]) -> Optional[Tuple[float, ...]]:
    """Which part of an image another one shows.

    Args:
        image (np.ndarray): What was made of the :func:`coordinates` of the first one,
            (h, w, 3).
        size (tuple[int, int]): The height and width of the first one.

    Returns:
        tuple[float, float, float, float] | None: See :class:`Original`. None if the one is
        not the other resized, cropped, padded and flipped.
    """
    h, w = image.shape[:2]
    x = _line(image[h // 2, :, 0], size[1])
    y = _line(image[:, w // 2, 1], size[0])
    if x is None or y is None:
        return None
    # All over the image, since what is turned or bent has lines in the middle as well.
    rows, columns = np.arange(0, h, h // 32 + 1), np.arange(0, w, w // 32 + 1)
    sample = image[np.ix_(rows, columns)]
    right = np.abs(sample[..., 2] - 1) < 1e-3  # neither padding nor of another colour
    right &= np.abs(sample[..., 0] - x[0] * (columns + 0.5) - x[1]) < TOLERANCE
    right &= np.abs(sample[..., 1] - (y[0] * (rows + 0.5) + y[1])[:, None]) < TOLERANCE
    return (x[0], y[0], x[1], y[1]) if right.mean() >= MINIMUM else None


def _line(values, end):
    """Slope and offset of a line of coordinates inside an image, or None."""
    # Padding and the outermost pixels, which interpolation repeats, tell nothing.
    places = np.flatnonzero((values > 0.5) & (values < end - 0.5))
    if len(places) < 2:
        return None
    quarter = len(places) // 4
    first, last = places[quarter], places[-1 - quarter]
    slope = (float(values[last]) - float(values[first])) / float(last - first)
    return slope, float(values[first]) - slope * (float(first) + 0.5)


def _random_state():
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _set_random_state(state):
    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.set_rng_state(state[2])
