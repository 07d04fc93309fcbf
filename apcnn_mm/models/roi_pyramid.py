"""ROI pyramid (section 3.2): informative regions of the spatial attention.

Shape shorthand in this module:
    N: number of images
    L: number of pyramid levels, from low (fine) to high (coarse)
    A_k: number of anchors of one level of one image
    K: number of ROIs of one image, over all levels (``sum(topk)``)

Boxes are (x1, y1, x2, y2) in pixels of the network's input.
"""

from typing import NamedTuple, Optional, Sequence, Tuple

import torch
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmpretrain.registry import TASK_UTILS
from torch import Tensor

from ..arguments import check_choice, check_number, check_numbers
from .roi_selection import select_by_nms, select_greedily


class ROIPyramid(NamedTuple):
    """The ROIs of a batch of images.

    Attributes:
        boxes (Tensor): (N, K, 4), the ROIs of each image, level by level, best first.
        scores (Tensor): (N, K), the spatial attention at the ROIs' centres.
        valid (Tensor): (N, K), bool. A level may yield fewer ROIs than places; the
            boxes and scores of the other places are zero.
        levels (Tensor): (K, ), the pyramid level of each place, 0 is the lowest.
        merged_box (Tensor): (N, 4), the smallest box around the valid ROIs of each
            image. Where there is none, the whole image: (0, 0, width, height).
        image_size (Tuple[int, int]): Height and width of the input.
    """

    boxes: Tensor
    scores: Tensor
    valid: Tensor
    levels: Tensor
    merged_box: Tensor
    image_size: Tuple[int, int]

    def of_images(self, index: Tensor) -> 'ROIPyramid':
        """The ROIs of some of the images.

        Args:
            index (Tensor): Which of the N, bool or their numbers.
        """
        return self._replace(
            boxes=self.boxes[index],
            scores=self.scores[index],
            valid=self.valid[index],
            merged_box=self.merged_box[index],
        )


@TASK_UTILS.register_module()
class ROIPyramidGenerator:
    """Select the ROI pyramid on the spatial attention pyramid.

    Each cell of a level's attention is the score of one square anchor. Of those that
    lie off the border and score above the level's mean, non-maximum suppression keeps
    the best ones. Nothing here is differentiable.

    Args:
        strides (Sequence[int]): Stride of each pyramid level in input pixels. Defaults
            to ``(8, 16, 32)``.
        anchor_sizes (Sequence[int]): Side of each level's anchors in input pixels
            (section 4.1). Defaults to ``(64, 128, 256)``.
        topk (Sequence[int]): Largest number of ROIs of each level (section 4.1).
            Defaults to ``(5, 3, 1)``.
        iou_threshold (float): NMS drops an anchor whose IoU with a better one is above
            this (section 4.1). Defaults to 0.05.
        border (float): Share of the attention's height and width that is ignored at
            each edge. The released code has 0.2 for birds and 0.1 for cars and
            aircraft. Defaults to 0.1.
        center_offset (float): Where the anchors' centres lie in their cells, in units
            of the stride: 0 is the upper left corner, as in the released code, 0.5
            the middle. Defaults to 0.
        guidance (str): What the anchors' scores are: 'attention', or for comparison
            'random' numbers (Table 4) or nearness to the 'center' of the image, which is
            the same for all. Defaults to 'attention'.
        selection (str): How the best anchors are found, with the same result: 'nms' by
            mmcv's operator, 'greedy' by taking the best anchor and striking what overlaps
            it, as often as there are places, or 'auto': 'nms' on CUDA, and 'greedy' on
            other devices, where it is faster, and where the model is traced, compiled or
            exported, which it can be without a break. Defaults to 'auto'.
    """

    def __init__(
        self,
        strides: Sequence[int] = (8, 16, 32),
        anchor_sizes: Sequence[int] = (64, 128, 256),
        topk: Sequence[int] = (5, 3, 1),
        iou_threshold: float = 0.05,
        border: float = 0.1,
        center_offset: float = 0.0,
        guidance: str = 'attention',
        selection: str = 'auto',
    ):
        check_numbers('roi_generator.strides', strides, integer=True, minimum=1)
        levels = len(strides)
        check_numbers('roi_generator.anchor_sizes', anchor_sizes, levels, minimum=1)
        check_numbers('roi_generator.topk', topk, levels, integer=True, minimum=0)
        if sum(topk) == 0:
            raise ValueError(f'roi_generator.topk must have a place, not {topk}.')
        check_number('roi_generator.iou_threshold', iou_threshold, 0, 1)
        check_number('roi_generator.border', border, minimum=0, below=0.5)
        check_number('roi_generator.center_offset', center_offset, -1, 1)
        check_choice('roi_generator.guidance', guidance, ('attention', 'random', 'center'))
        self.strides = tuple(strides)
        self.anchor_sizes = tuple(anchor_sizes)
        self.topk = tuple(topk)
        self.iou_threshold = iou_threshold
        self.border = border
        self.center_offset = center_offset
        check_choice('roi_generator.selection', selection, ('auto', 'nms', 'greedy'))
        self.guidance = guidance
        self.selection = selection
        self._constants = {}

    @torch.no_grad()
    def __call__(
        self,
        spatial: Sequence[Tensor],
        image_size: Tuple[int, int],
        logits: Optional[Sequence[Tensor]] = None,
    ) -> ROIPyramid:
        """Generate the ROIs of a batch.

        Args:
            spatial (Sequence[Tensor]): Spatial attention of each level, (N, 1, h, w).
            image_size (Tuple[int, int]): Height and width of the input in pixels.
            logits (Sequence[Tensor], optional): The same before the sigmoid, which ranks
                the cells where the sigmoid has saturated. Defaults to None: the attention
                ranks them.

        Returns:
            ROIPyramid: The ROIs, on the device of ``spatial``.

        Raises:
            ValueError: If the number of levels or their sizes do not go with ``strides``.
        """
        if len(spatial) != len(self.strides):
            raise ValueError(
                f'The neck gave {len(spatial)} levels of spatial attention, but '
                f'roi_generator.strides={self.strides} has {len(self.strides)}.'
            )
        # An exported model has no size yet.
        for attention, stride in () if _is_traced() else zip(spatial, self.strides):
            # Backbones that do not pad have up to two cells fewer.
            if abs(attention.size(-1) - image_size[1] / stride) >= 3:
                raise ValueError(
                    f'An input of width {image_size[1]} gave a pyramid level of '
                    f'{attention.size(-1)} cells, which is not of stride {stride}: set '
                    'roi_generator.strides to those of the outputs of the backbone.'
                )
        if self.guidance != 'attention':
            # float32: half precision has few numbers, and ties go to the upper left.
            draw = torch.rand_like if self.guidance == 'random' else _nearness_to_center
            spatial = [draw(x, dtype=torch.float32) for x in spatial]
            logits = None
        anchors, levels = self._anchors(spatial)
        scores = [self._mask_border(attention.float()) for attention in spatial]
        order = scores if logits is None else [x.float().flatten(1) for x in logits]
        candidates = [self._above_mean(s) for s in scores]
        select = select_greedily if self._is_greedy(scores[0]) else select_by_nms
        valid, index = select(anchors, order, candidates, self.topk, self.iou_threshold)

        anchors, scores = torch.cat(anchors), torch.cat(scores, dim=1)
        boxes = self._clip(anchors[index], image_size).masked_fill(~valid[..., None], 0)
        return ROIPyramid(
            boxes=boxes,
            scores=scores.gather(1, index).masked_fill(~valid, 0),
            valid=valid,
            levels=levels,
            merged_box=self._merge(boxes, valid, image_size),
            image_size=tuple(image_size),
        )

    def _anchors(self, spatial):
        """A square anchor for each cell, (A_k, 4) a level, and each place's level, (K, ).

        They are made once for each size and device.
        """
        device = spatial[0].device
        sizes = tuple(tuple(attention.shape[-2:]) for attention in spatial)
        if _is_traced():  # its tensors stand for others, and are no constants
            return self._make_anchors(sizes, device)
        if (sizes, device) not in self._constants:
            if len(self._constants) > 32:  # images of any size must not fill the memory
                self._constants.clear()
            self._constants[sizes, device] = self._make_anchors(sizes, device)
        return self._constants[sizes, device]

    def _make_anchors(self, sizes, device):
        generator = AnchorGenerator(
            strides=self.strides,
            ratios=[1.0],
            scales=[1.0],
            base_sizes=self.anchor_sizes,
            centers=[(stride * self.center_offset,) * 2 for stride in self.strides],
        )
        anchors = generator.grid_priors(sizes, device=device)
        levels = [torch.full((k,), i, device=device) for i, k in enumerate(self.topk)]
        return anchors, torch.cat(levels)

    @staticmethod
    def _above_mean(scores):
        """Which cells of a level are candidates, (N, h * w).

        The mean counts the zeros of the border. It is taken above the lowest score:
        a sum of equal numbers is off by rounding, a sum of zeros is not, so a constant
        level has no candidates.
        """
        scores = scores - scores.amin(dim=1, keepdim=True)
        return scores > scores.mean(dim=1, keepdim=True)

    def _mask_border(self, attention):
        """(N, 1, h, w) -> (N, h * w), zero on the border."""
        rows, columns = (
            self._off_border(n, attention.device) for n in attention.shape[-2:]
        )
        return attention.masked_fill(~(rows[:, None] & columns), 0).flatten(1)

    def _off_border(self, size, device):
        """Which of so many cells in a row are no border, (size, ), bool.

        They are the cells from ``border * size`` to ``(1 - border) * size``, truncated. In
        tensors, for a size that is not known when a model is exported.
        """
        ends = torch.arange(1, size + 1, dtype=torch.float32, device=device)
        first, end = self.border * ends[-1], (1 - self.border) * ends[-1]
        # What is whole but for rounding, such as 0.9 * 20, is whole.
        return (first + 1e-3 < ends) & (ends <= end + 1e-3)

    def _is_greedy(self, scores):
        if self.selection != 'auto':
            return self.selection == 'greedy'
        return not scores.is_cuda or _is_traced()

    @staticmethod
    def _clip(boxes, image_size):
        h, w = image_size
        boxes = boxes.clamp(min=0)
        x, y = boxes[..., 0::2].clamp(max=w - 1), boxes[..., 1::2].clamp(max=h - 1)
        return torch.stack([x, y], dim=-1).flatten(-2)

    @staticmethod
    def _merge(boxes, valid, image_size):
        """The minimum bounding rectangle, (N, K, 4) -> (N, 4)."""
        h, w = image_size
        absent = ~valid[..., None]
        lower = boxes[..., :2].masked_fill(absent, float('inf')).amin(dim=1)
        upper = boxes[..., 2:].masked_fill(absent, 0).amax(dim=1)
        whole = torch.stack([boxes.new_full((), side) for side in (0, 0, w, h)])
        return torch.where(valid.any(1, keepdim=True), torch.cat([lower, upper], 1), whole)


def _nearness_to_center(attention, dtype):
    """1 in the middle of the maps, 0 in the corners, (N, 1, h, w)."""
    y, x = (
        torch.linspace(1 / n - 1, 1 - 1 / n, n, dtype=dtype, device=attention.device)
        for n in attention.shape[-2:]
    )
    return (1 - (y[:, None] ** 2 + x**2) / 2).expand(attention.shape)


def _is_traced():
    """Whether this is no eager mode, but a model is traced, compiled or exported."""
    compiler = getattr(torch, 'compiler', None)
    is_compiling = getattr(compiler, 'is_compiling', torch.jit.is_tracing)
    return torch.jit.is_tracing() or is_compiling()
