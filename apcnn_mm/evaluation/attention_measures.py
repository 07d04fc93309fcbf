"""How well maps of attention find objects.

Shape shorthand in this module:
    N: number of images
    h, w: cells of a map, the equal parts of the network's input

Boxes are (x1, y1, x2, y2), (N, 4), and image sizes are (height, width), in pixels of the
input.
"""

from typing import Tuple

import torch
from torch import Tensor


def area_under_curve(attention: Tensor, boxes: Tensor, image_size: Tuple) -> Tensor:
    """How often a cell in the box has more attention than one outside.

    This is the area under the ROC curve: cells of equal attention count one half.

    Args:
        attention (Tensor): (N, h, w).
        boxes (Tensor): The objects, (N, 4).
        image_size (Tuple[int, int]): Height and width of the input.

    Returns:
        Tensor: (N, ), NaN where no cell or every cell is in the box.
    """
    inside = _distance(boxes, attention.shape[1:], image_size).flatten(1) < 1
    values = attention.flatten(1).contiguous()
    ordered = values.sort(dim=1).values
    # Each cell beats those below it, and half of its equals (itself included).
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    beaten = ((below + up_to).double() / 2 * inside).sum(dim=1)
    positive = inside.sum(dim=1).double()
    negative = inside.size(1) - positive
    return ((beaten - positive**2 / 2) / (positive * negative)).float()


def hits(attention: Tensor, boxes: Tensor, image_size: Tuple) -> Tensor:
    """Whether the cell with the most attention is in the box (the pointing game).

    Args:
        attention (Tensor): (N, h, w).
        boxes (Tensor): The objects, (N, 4).
        image_size (Tuple[int, int]): Height and width of the input.

    Returns:
        Tensor: (N, ), 1 or 0. Where several cells have the most, their share in the box.
    """
    inside = _distance(boxes, attention.shape[1:], image_size).flatten(1) < 1
    values = attention.flatten(1)
    most = values == values.amax(dim=1, keepdim=True)
    return (most & inside).sum(dim=1) / most.sum(dim=1)


def gaussian(boxes: Tensor, size: Tuple, image_size: Tuple) -> Tensor:
    """Attention that knows the objects: half a side of the box is one standard deviation.

    Args:
        boxes (Tensor): The objects, (N, 4).
        size (Tuple[int, int]): h and w.
        image_size (Tuple[int, int]): Height and width of the input.

    Returns:
        Tensor: (N, h, w).
    """
    y, x = _offsets(boxes, size, image_size)
    return torch.exp(-(x[:, None] ** 2 + y[..., None] ** 2) / 2)


def _offsets(boxes, size, image_size):
    """How far the cells' centres lie from the boxes' in half sides, (N, h) and (N, w)."""
    offsets = []
    for i, (cells, pixels) in enumerate(zip(size, image_size)):
        centers = (torch.arange(cells).to(boxes) + 0.5) * (pixels / cells)
        lower, upper = boxes[:, 1 - i, None], boxes[:, 3 - i, None]
        offsets.append((2 * centers - lower - upper) / (upper - lower))
    return offsets


def _distance(boxes, size, image_size):
    """The larger of the two offsets, (N, h, w): below 1 inside the box."""
    y, x = _offsets(boxes, size, image_size)
    return torch.maximum(x.abs()[:, None], y.abs()[..., None])
