"""How well the merged box finds the object (Table 3)."""

from typing import List, Sequence

import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS

from ..arguments import check_choice, check_number
from ..geometry import to_original


@METRICS.register_module()
class ObjectLocalization(BaseMetric):
    """Compare merged boxes with the boxes of the objects, in original image pixels.

    - ``localization/mIoU``: mean intersection over union, in per cent.
    - ``localization/recall``: mean share of the object's box that the merged box covers,
      in per cent.
    - ``localization/recall@0.5``: share of the images whose IoU is at least 0.5, in per
      cent.

    The paper's Table 3 does not say which of the two its recall is. Samples without
    ``object_box`` or predictions without ``merged_box`` are left out; where all are,
    there is no result.

    The test pipeline may have one resizing, center crops and flips, and must pack
    ``object_box``.

    Args:
        iou_threshold (float): From which IoU on an object counts as found for
            ``recall@``. Defaults to 0.5.
        collect_device (str): See :class:`BaseMetric`. Defaults to 'cpu'.
    """

    default_prefix = 'localization'

    def __init__(self, iou_threshold: float = 0.5, collect_device: str = 'cpu'):
        check_number(
            'ObjectLocalization.iou_threshold', iou_threshold, minimum=0, maximum=1
        )
        check_choice('ObjectLocalization.collect_device', collect_device, ('cpu', 'gpu'))
        super().__init__(collect_device=collect_device)
        self.iou_threshold = iou_threshold

    def process(self, data_batch, data_samples: Sequence[dict]):
        """Keep the boxes of a batch, in original pixels."""
        for sample in data_samples:
            if 'object_box' in sample and 'merged_box' in sample:
                merged = to_original(sample['merged_box'].float().cpu(), sample)
                self.results.append((merged, torch.tensor(sample['object_box']).float()))

    def compute_metrics(self, results: List[tuple]) -> dict:
        """The means over all images, in per cent."""
        if not results:
            return {}
        merged, objects = (torch.stack(boxes) for boxes in zip(*results))
        iou = bbox_overlaps(merged, objects, is_aligned=True)
        values = {
            'mIoU': iou,
            'recall': bbox_overlaps(objects, merged, mode='iof', is_aligned=True),
            f'recall@{self.iou_threshold:g}': (iou >= self.iou_threshold).float(),
        }
        return {name: 100 * value.mean().item() for name, value in values.items()}
