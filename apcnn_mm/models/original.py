"""A second look at the original pictures: zoom-in (Eq. 7) beyond the network's input.

A person who wants to see more of a bird does not enlarge the thumbnail. The merged box is
cut out of the picture as it was loaded, and resized to the size of the input.
"""

from typing import NamedTuple, Sequence, Tuple

import torch
from torch import Tensor

from ..geometry import Original


class OriginalPictures(NamedTuple):
    """Original pictures of any sizes.

    Attributes:
        pictures (Sequence[Original]): N pictures.
    """

    pictures: Sequence[Original]

    def of_images(self, index: Tensor) -> 'OriginalPictures':
        """Some of the pictures, by their numbers."""
        return OriginalPictures([self.pictures[i] for i in index.tolist()])

    def zoom(self, boxes: Tensor, size: Tuple[int, int]) -> Tuple[Tensor, Tensor]:
        """Cut a box out of each picture and resize it.

        Args:
            boxes (Tensor): (N, 4), (x1, y1, x2, y2) in pixels of the network's input.
            size (tuple[int, int]): Height and width, (h, w), of what is wanted.

        Returns:
            tuple[Tensor, Tensor]: The pixels as they were loaded, (N, C, h, w), float32;
            and where they lie inside the picture, (N, 1, h, w), bool. Outside they are 0.
        """
        views = boxes.new_tensor([picture.view for picture in self.pictures])
        looks = []
        for (pixels, _, _), place in zip(self.pictures, _places(boxes, views).split(1)):
            pixels = pixels.to(boxes.device, non_blocking=True).permute(2, 0, 1)
            looks.append(cut_and_resize(pixels[None], place, size))
        return tuple(map(torch.cat, zip(*looks)))


class OriginalBatch(NamedTuple):
    """Original pictures of one size, whose number need not be known: an exported model's.

    Attributes:
        pixels (Tensor): (N, H, W, C), as they were loaded.
        views (Tensor): (N, 4), that of each :class:`Original`.
    """

    pixels: Tensor
    views: Tensor

    def of_images(self, index: Tensor) -> 'OriginalBatch':
        """Some of the pictures, by their numbers."""
        return OriginalBatch(self.pixels[index], self.views[index])

    def zoom(self, boxes: Tensor, size: Tuple[int, int]) -> Tuple[Tensor, Tensor]:
        """As :meth:`OriginalPictures.zoom`."""
        places = _places(boxes, self.views)
        return cut_and_resize(self.pixels.permute(0, 3, 1, 2), places, size)


def _places(boxes, views):
    """Boxes of the input in pixels of the pictures, (N, 4)."""
    scale, offset = views.chunk(2, dim=1)
    return boxes * scale.repeat(1, 2) + offset.repeat(1, 2)


def cut_and_resize(
    pictures: Tensor, boxes: Tensor, size: Tuple[int, int]
) -> Tuple[Tensor, Tensor]:
    """Cut a box out of each picture and resize it, in one step.

    The same as Pillow's ``Image.resize(size, BILINEAR, box=box)``, which antialiases where
    it shrinks. Boxes may also reach past the picture, and be mirrored.

    Args:
        pictures (Tensor): (N, C, H, W), of any numbers.
        boxes (Tensor): (N, 4), (x1, y1, x2, y2) in their pixels, not rounded. A box with
            ``x1 > x2`` or ``y1 > y2`` is mirrored.
        size (tuple[int, int]): Height and width of the result, (h, w).

    Returns:
        tuple[Tensor, Tensor]: The pixels, (N, C, h, w), float32; and which of them lie
        inside the picture, (N, 1, h, w), bool. Outside they are 0.
    """
    x1, y1, x2, y2 = boxes.float().unbind(1)
    rows, in_rows = _interpolation(y1, y2, pictures.size(-2), size[0])
    columns, in_columns = _interpolation(x1, x2, pictures.size(-1), size[1])
    # In float32: weights in half precision shift what is read by parts of a pixel.
    with torch.autocast(pictures.device.type, enabled=False):
        resized = rows[:, None] @ pictures.float() @ columns.mT[:, None]
    return resized, (in_rows[:, :, None] & in_columns[:, None])[:, None]


def _interpolation(start, end, length, size):
    """Antialiased bilinear interpolation of one axis as a matrix.

    Args:
        start (Tensor): Where each box begins, (N, ).
        end (Tensor): Where it ends, (N, ).
        length (int): Pixels of the axis before.
        size (int): Pixels of the axis after.

    Returns:
        tuple[Tensor, Tensor]: (N, size, length), the weight of each pixel for each new
        one; and which of the new ones lie inside, (N, size), bool.
    """
    step = (end - start)[:, None] / size
    places = start[:, None] + (torch.arange(size, device=start.device) + 0.5) * step
    centres = torch.arange(length, device=start.device) + 0.5
    reach = step.abs().clamp(min=1)[..., None]
    weights = (1 - (places[..., None] - centres).abs() / reach).clamp(min=0)
    inside = (places >= 0) & (places <= length)
    weights = weights * inside[..., None]
    return weights / weights.sum(dim=-1, keepdim=True).clamp(min=1e-6), inside
