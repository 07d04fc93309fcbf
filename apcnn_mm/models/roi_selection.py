"""The best anchors of each pyramid level, found in two ways with the same result.

Shape shorthand in this module:
    N: number of images
    A_k: number of anchors of one level of one image
    K: number of ROIs of one image, over all levels (``sum(topk)``)

Anchors are (x1, y1, x2, y2) in pixels of the network's input. A candidate is selected
where its IoU with no better one that is selected is above the threshold; of equals the
first one is the better. Both functions take, level by level, ``anchors``, (A_k, 4), their
``order``, (N, A_k), the larger the better, and which of them are ``candidates``, (N, A_k),
bool. Both return which of the K places are taken, (N, K), bool, and by which of all
anchors, (N, K); level by level, best first.
"""

from typing import Sequence, Tuple

import torch
import torch.nn.functional as F
from mmcv.ops import nms
from torch import Tensor

# Boxes of one NMS call, a training batch of the paper. Its time and memory grow with the
# square of the boxes (on CUDA n * n / 8 bytes for n boxes: here half a gigabyte), and
# above 262,144 its CUDA kernel is unreliable.
NMS_BOXES = 2**16


def select_greedily(
    anchors: Sequence[Tensor],
    order: Sequence[Tensor],
    candidates: Sequence[Tensor],
    topk: Sequence[int],
    iou_threshold: float,
) -> Tuple[Tensor, Tensor]:
    """Take the best candidate and strike what overlaps it, as often as there are places."""
    picks, start = [], 0
    for boxes, values, allowed, k in zip(anchors, order, candidates, topk):
        # The released code counts pixels: a side is x2 - x1 + 1.
        areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(dim=1)
        left = values.masked_fill(~allowed, -torch.inf)
        for _ in range(k):
            best, index = left.max(dim=1, keepdim=True)  # the first one of equals
            box = boxes[index]
            lower = box[..., :2].maximum(boxes[:, :2])
            upper = box[..., 2:].minimum(boxes[:, 2:])
            overlap = (upper - lower + 1).clamp(min=0).prod(dim=-1)
            iou = overlap / (areas[index] + areas - overlap)
            left = left.masked_fill(iou > iou_threshold, -torch.inf)
            left = left.scatter(1, index, -torch.inf)
            picks.append((best > -torch.inf, start + index))
        start += boxes.size(0)
    valid, index = (torch.cat(part, dim=1) for part in zip(*picks))
    return valid, index


def select_by_nms(
    anchors: Sequence[Tensor],
    order: Sequence[Tensor],
    candidates: Sequence[Tensor],
    topk: Sequence[int],
    iou_threshold: float,
) -> Tuple[Tensor, Tensor]:
    """mmcv's operator for many images and all levels in one call, then the best ones."""
    sizes = [len(boxes) for boxes in anchors]
    images = max(1, NMS_BOXES // sum(sizes))
    groups = zip(
        torch.cat(list(order), dim=1).split(images),
        torch.cat(list(candidates), dim=1).split(images),
    )
    ranks = torch.cat([_suppress(anchors, *group, iou_threshold) for group in groups])
    picks, start = [], 0
    for rank, k in zip(ranks.split(sizes, dim=1), topk):
        # A small input can have fewer cells than the level has places.
        best, index = F.pad(rank, (0, k)).topk(k, dim=1)
        picks.append((best > 0, start + index.clamp(max=rank.size(1) - 1)))
        start += rank.size(1)
    valid, index = (torch.cat(part, dim=1) for part in zip(*picks))
    return valid, index


def _suppress(anchors, values, candidates, iou_threshold):
    """NMS of these images, (N, A): the larger the better, 0 for what is not kept."""
    # NMS gets ranks for scores. They order equal attention values the same way in every
    # batch and on every device, and let the candidates be selected by NMS's own
    # threshold. float32 holds them exactly below 2 ** 24 anchors.
    order = values.flatten().sort(descending=True, stable=True).indices
    ranks = torch.empty_like(values).flatten()
    n = order.numel()
    ranks[order] = torch.arange(n, 0, -1, dtype=ranks.dtype, device=ranks.device)
    ranks = ranks.masked_fill(~candidates.flatten(), 0)

    # Images and levels stand side by side along x, too far apart to touch. Anchors reach
    # to negative coordinates: the distance must span all of them.
    levels = torch.cat(
        [boxes.new_full((len(boxes),), i) for i, boxes in enumerate(anchors)]
    )
    anchors = torch.cat(list(anchors))
    image = torch.arange(len(values), device=anchors.device)[:, None]
    group = levels + (levels[-1] + 1) * image
    span = anchors[:, 2].max() - anchors[:, 0].min() + 2
    boxes = anchors.repeat(len(values), 1, 1)
    boxes[..., 0::2] += (group * span)[..., None]

    # As the released code, with sides of x2 - x1 + 1.
    _, keep = nms(boxes.flatten(0, 1), ranks, iou_threshold, offset=1, score_threshold=0.5)
    kept = torch.zeros_like(ranks)
    kept[keep] = ranks[keep]
    return kept.view_as(values)
