"""ROI guided refinement (section 3.2, Algorithm 1) of a low-level feature map.

Shape shorthand in this module:
    N: number of images
    K: number of ROIs of one image
    (C, h, w): channels, height and width of the feature map

Boxes are (x1, y1, x2, y2). ROIs come in pixels of the network's input; a box in *cells*
lies on the feature map, and like a slice it does not include its end.
"""

from itertools import accumulate
from typing import Sequence

import torch
from torch import Tensor

from .roi_pyramid import ROIPyramid


def feature_stride(features: Tensor, rois: ROIPyramid) -> Tensor:
    """Stride of a feature map in input pixels, (), float32.

    A padded convolution yields ceil(width / stride) cells, others fewer: only the
    nearest power of two is exact for every width. A tensor, because widths are not known
    when a model is exported.
    """
    width = rois.boxes.new_full((), rois.image_size[1], dtype=torch.float32)
    return (width / features.size(-1)).log2().round().exp2().round()


def roi_guided_dropblock(
    features: Tensor, rois: ROIPyramid, probs: Sequence[float], gain: str = 'map'
) -> Tensor:
    """Erase one ROI of each image (Eq. 5 and 6).

    An image draws a level with the given probabilities, or none, and then one of the
    level's ROIs with equal probability. It stays whole where the level has no ROI, or
    where nothing would be left inside the merged box that zoom-in cuts out.

    Args:
        features (Tensor): Low-level features B_n, (N, C, h, w).
        rois (ROIPyramid): The ROIs of the raw stage.
        probs (Sequence[float]): Probability of each pyramid level, P of Algorithm 1.
        gain (str): How the kept features make up for the erased ones:

            - 'map': Eq. 6, all cells over the kept cells of the map.
            - 'crop': The same, counted inside the merged box.
            - 'released': As 'crop', but the released code does not round the sides
              of the merged box when it counts all cells.

            Defaults to 'map'.

    Returns:
        Tensor: Dropped features D_n, (N, C, h, w).
    """
    h, w = features.shape[-2:]
    stride = feature_stride(features, rois)
    dropped = _mask(_cells(_draw(rois, probs), stride), h, w)
    crop_box = _crop_cells(rois.merged_box, stride, h, w)
    crop = _mask(crop_box, h, w)

    emptied = (crop & ~dropped).flatten(1).sum(1) == 0
    kept = ~(dropped & ~emptied[:, None, None])
    if gain == 'map':
        ratio = h * w / _count(kept)
    elif gain == 'crop':
        ratio = _count(crop) / _count(kept & crop)
    elif gain == 'released':
        width, height = ((rois.merged_box[:, 2:] - rois.merged_box[:, :2]) / stride).T
        ratio = width * height / _count(kept & crop)
    else:
        raise ValueError(
            f"dropblock_gain must be 'map', 'crop' or 'released', not {gain!r}."
        )
    return features * (kept * ratio[:, None, None])[:, None].to(features)


def roi_guided_zoom_in(features: Tensor, rois: ROIPyramid) -> Tensor:
    """Cut out each image's merged box and enlarge it to the whole map (Eq. 7).

    The same as ``F.interpolate`` (bilinear, ``align_corners=False``) of each crop.

    Args:
        features (Tensor): Dropped features D_n, (N, C, h, w).
        rois (ROIPyramid): The ROIs of the raw stage.

    Returns:
        Tensor: Zoomed features Z_n, (N, C, h, w).
    """
    h, w = features.shape[-2:]
    box = _crop_cells(rois.merged_box, feature_stride(features, rois), h, w)
    x1, y1, x2, y2 = box.float().unbind(1)
    rows, columns = _interpolation(y1, y2, h), _interpolation(x1, x2, w)
    # In float32: weights in half precision shift what is read by parts of a cell.
    with torch.autocast(features.device.type, enabled=False):
        zoomed = rows[:, None] @ features.float() @ columns.mT[:, None]
    if features.is_contiguous(memory_format=torch.channels_last):
        zoomed = zoomed.contiguous(memory_format=torch.channels_last)
    return zoomed.to(features)


def _interpolation(start, end, size):
    """Bilinear interpolation of one axis as a matrix.

    A product of matrices has a deterministic backward pass on CUDA, where that of
    ``F.grid_sample`` has none.

    Args:
        start (Tensor): First cell of each crop, (N, ).
        end (Tensor): The cell behind its last one, (N, ).
        size (int): Cells of the axis, before and after.

    Returns:
        Tensor: (N, size, size), the weight of each cell for each output cell.
    """
    cells = torch.arange(size, device=start.device, dtype=torch.float32)
    start, extent = start[:, None], (end - start)[:, None]
    place = ((cells + 0.5) * extent / size - 0.5).clamp(min=0).minimum(extent - 1)
    return (1 - (start + place)[..., None].sub(cells).abs()).clamp(min=0)


def _draw(rois, probs):
    """Draw one ROI of each image, (N, 4). An empty box where none is drawn."""
    n, k = rois.valid.shape
    device = rois.boxes.device
    # Plain numbers: a tensor of them would be copied to a GPU, which waits for it.
    number = torch.rand(n, device=device)
    level = sum((number >= threshold).long() for threshold in accumulate(probs))
    # The largest of independent uniform numbers picks with equal probability.
    choice = torch.rand(n, k, device=device) + 1
    choice = choice * (rois.valid & (rois.levels == level[:, None]))
    best, index = choice.max(dim=1)
    boxes = rois.boxes.gather(1, index[:, None, None].expand(n, 1, 4)).squeeze(1)
    return boxes * (best > 0)[:, None]


def _cells(boxes, stride):
    """Boxes in cells: both ends are truncated, as in the released code."""
    return (boxes / stride).long()


def _crop_cells(boxes, stride, h, w):
    """The same with at least one cell inside the map."""
    cells = _cells(boxes, stride)
    last = torch.stack([cells.new_full((), side) for side in (w, h)])
    lower, upper = cells.chunk(2, dim=1)
    lower = lower.minimum(last - 1)
    return torch.cat([lower, upper.minimum(last).maximum(lower + 1)], dim=1)


def _mask(cells, h, w):
    """The cells inside the boxes, (N, 4) -> (N, h, w), bool."""
    x1, y1, x2, y2 = cells[:, :, None].unbind(1)
    x, y = torch.arange(w, device=cells.device), torch.arange(h, device=cells.device)
    columns, rows = (x1 <= x) & (x < x2), (y1 <= y) & (y < y2)
    return rows[:, :, None] & columns[:, None, :]


def _count(mask):
    return mask.flatten(1).sum(1)
