"""How well the merged box and the attention find the object (Table 3)."""

from copy import copy
from itertools import compress, groupby
from typing import List, Optional, Sequence, Union

import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS, TASK_UTILS

from ..arguments import check_choice, check_config, check_number
from ..geometry import to_input
from ..models import ROIPyramidGenerator
from .attention_measures import area_under_curve, gaussian, hits
from .places import in_places

# Images whose random and perfect attention is in memory at a time.
CHUNK = 256


@METRICS.register_module()
class ObjectLocalization(BaseMetric):
    """Compare merged boxes and spatial attention with the boxes of the objects.

    Of the merged box, in per cent:

    - ``localization/mIoU``: mean intersection over union.
    - ``localization/recall``: mean share of the object's box that the merged box covers.
    - ``localization/recall@0.5``: share of the images whose IoU is at least 0.5. The
      paper's Table 3 does not say which of the two its recall is.

    Of the raw stage's attention at each level, 0 is the lowest:

    - ``localization/auc_level0``: how often a cell in the object's box has more attention
      than one outside, mean over the images. 1 is perfect, 0.5 is chance; below, the
      attention is on the background.
    - ``localization/pointing_level0``: share of the images whose cell of most attention
      is in the object's box (the pointing game), in per cent.

    With a ``roi_generator``, the frame of reference on the same images, in per cent. A
    bare mIoU says little: boxes that know nothing of the object score high where objects
    are large and in the middle, and ROIs that NMS has spread apart never score 100.

    - ``localization/random_mIoU``: with random attention.
    - ``localization/perfect_mIoU``: with a Gaussian in the object's box for attention.
    - ``localization/constant_mIoU``: with the same centred box everywhere, the best one.
    - ``localization/skill``: where the mIoU lies between random (0) and perfect (100).

    Samples without ``object_box`` or predictions without ``merged_box`` are left out;
    where all are, there is no result. The first three need no ``attention``.

    The test pipeline may have one resizing, center crops and flips, and must pack
    ``object_box``.

    Args:
        iou_threshold (float): From which IoU on an object counts as found for
            ``recall@``. Defaults to 0.5.
        roi_generator (dict | ROIPyramidGenerator, optional): What selects the ROIs of
            random and perfect attention. Defaults to None: the model's in tests, see
            :class:`LocalizationFrameHook`, and none in validations while training, for
            which the frame is the same each time.
        collect_device (str): See :class:`BaseMetric`. Defaults to 'cpu'.
    """

    default_prefix = 'localization'

    def __init__(
        self,
        iou_threshold: float = 0.5,
        roi_generator: Union[dict, ROIPyramidGenerator, None] = None,
        collect_device: str = 'cpu',
    ):
        check_number(
            'ObjectLocalization.iou_threshold', iou_threshold, minimum=0, maximum=1
        )
        check_choice('ObjectLocalization.collect_device', collect_device, ('cpu', 'gpu'))
        if not isinstance(roi_generator, ROIPyramidGenerator):
            check_config('ObjectLocalization.roi_generator', roi_generator, optional=True)
        super().__init__(collect_device=collect_device)
        if isinstance(roi_generator, dict):
            roi_generator = TASK_UTILS.build(roi_generator)
        self.iou_threshold = iou_threshold
        self.roi_generator: Optional[ROIPyramidGenerator] = roi_generator

    def process(self, data_batch, data_samples: Sequence[dict]):
        """Keep the boxes of a batch, and how well its attention agrees with them."""
        has_boxes = ['object_box' in s and 'merged_box' in s for s in data_samples]
        samples, results = compress(data_samples, has_boxes), []
        # Usually one group: the inputs of a batch have one size.
        for (image_size, level_sizes), group in groupby(samples, _sizes):
            group = list(group)
            merged = torch.stack([s['merged_box'].float() for s in group])
            # In pixels of the input: IoU is the same as in those of the original image.
            boxes = [to_input(torch.tensor(s['object_box']).float(), s) for s in group]
            boxes = torch.stack(boxes).to(merged)
            levels = [torch.stack(level) for level in zip(*map(_attention, group))]
            measures = [
                torch.stack([measure(level, boxes, image_size) for level in levels], 1)
                if levels
                else merged.new_zeros(len(group), 0)
                for measure in (area_under_curve, hits)
            ]
            for row in zip(*(column.cpu() for column in (merged, boxes, *measures))):
                results.append((*row, image_size, level_sizes))
        self.results += in_places(results, has_boxes)

    def compute_metrics(self, results: List[tuple]) -> dict:
        """The means over all images."""
        results = [result for result in results if result is not None]
        if not results:
            return {}
        *columns, image_sizes, level_sizes = zip(*results)
        merged, boxes = (torch.stack(column) for column in columns[:2])
        iou = bbox_overlaps(merged, boxes, is_aligned=True)
        recall = bbox_overlaps(boxes, merged, mode='iof', is_aligned=True)
        found = (iou >= self.iou_threshold).float()
        metrics = {
            'mIoU': 100 * iou.mean(),
            'recall': 100 * recall.mean(),
            f'recall@{self.iou_threshold:g}': 100 * found.mean(),
        }
        if all(level_sizes):
            auc, pointing = (torch.stack(column) for column in columns[2:])
            for level, (area, hit) in enumerate(zip(auc.T, pointing.T)):
                metrics[f'auc_level{level}'] = area.nanmean()
                metrics[f'pointing_level{level}'] = 100 * hit.mean()
            if self.roi_generator is not None:
                frame = self._frame(boxes, image_sizes, level_sizes)
                metrics.update({f'{name}_mIoU': 100 * v for name, v in frame.items()})
                room = frame['perfect'] - frame['random']
                if room > 0:
                    metrics['skill'] = 100 * (iou.mean() - frame['random']) / room
        return {name: float(value) for name, value in metrics.items()}

    def _frame(self, boxes, image_sizes, level_sizes):
        """What the mIoU would be with other attention on the same images."""
        generator = copy(self.roi_generator)
        generator.guidance = 'attention'  # the random one is drawn here, with a seed
        draw = torch.Generator().manual_seed(0)
        iou = {'random': [], 'perfect': []}
        start = 0
        for (image_size, sizes), group in groupby(zip(image_sizes, level_sizes)):
            end = start + len(list(group))
            for part in boxes[start:end].split(CHUNK):
                n = len(part)
                random = [torch.rand(n, *size, generator=draw) for size in sizes]
                perfect = [gaussian(part, size, image_size) for size in sizes]
                for name, levels in (('random', random), ('perfect', perfect)):
                    rois = generator([level[:, None] for level in levels], image_size)
                    overlaps = bbox_overlaps(rois.merged_box, part, is_aligned=True)
                    iou[name].append(overlaps)
            start = end
        frame = {name: torch.cat(values).mean() for name, values in iou.items()}
        frame['constant'] = _constant_iou(boxes, image_sizes)
        return frame


def _attention(sample):
    return sample.get('attention', ())


def _sizes(sample):
    """Height and width of the input, and of each level of attention."""
    levels = tuple(tuple(level.shape) for level in _attention(sample))
    return tuple(sample['img_shape'][:2]), levels


def _constant_iou(boxes, image_sizes):
    """The mIoU of the best box that is the same share of the middle of all images."""
    h, w = boxes.new_tensor(image_sizes).T
    boxes = boxes / torch.stack([w, h, w, h], dim=1)
    half = torch.arange(1, 21).to(boxes) / 40  # sides in steps of 5 %
    half = torch.cartesian_prod(half, half)
    constant = torch.cat([0.5 - half, 0.5 + half], dim=1)
    return bbox_overlaps(boxes, constant).mean(dim=0).max()
