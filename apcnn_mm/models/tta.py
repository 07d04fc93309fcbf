"""Test-time augmentation of AP-CNN."""

from typing import Sequence

import torch
from mmpretrain.models.tta import AverageClsScoreTTA
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from ..geometry import to_input, to_original


@MODELS.register_module()
class APCNNTTAModel(AverageClsScoreTTA):
    """The mean score of several views of an image, and all that goes with it.

    AP-CNN: mmpretrain's keeps everything but ``pred_score`` from the first view. Here the
    label, the scores of the stages, the novelty (the mean one) and the boxes are those of
    all views as well, the boxes in pixels of the first view: ROIs are those of all views,
    and the merged box is the smallest one around their merged boxes. It takes all
    classifiers.

    Args:
        module (dict | nn.Module): The model.
        data_preprocessor (dict, optional): Its data preprocessor. Defaults to None: that
            of the model.
    """

    def _merge_single_sample(self, data_samples: Sequence[DataSample]) -> DataSample:
        merged = super()._merge_single_sample(data_samples)
        merged.set_pred_label(merged.pred_score.argmax(dim=0, keepdim=True))
        if 'stage_scores' in merged:
            # In a cascade, some views may have one stage only.
            views = [sample.stage_scores for sample in data_samples]
            merged.stage_scores = torch.stack(
                [
                    torch.stack([view[i] for view in views if i < len(view)]).mean(dim=0)
                    for i in range(max(map(len, views)))
                ]
            )
        if 'novelty' in merged:
            novelty = torch.stack([sample.novelty for sample in data_samples])
            merged.novelty = novelty.mean(dim=0)
            merged.accepted = self.module.head.calibrator.accepts(merged.novelty)
        if 'rois' in merged:
            for name in ('roi_levels', 'roi_scores'):
                values = torch.cat([sample.get(name) for sample in data_samples])
                merged.set_field(values, name)
            merged.rois = torch.cat(
                [_on_first(sample.rois, sample, merged) for sample in data_samples]
            )
            boxes = torch.stack(
                [_on_first(sample.merged_box, sample, merged) for sample in data_samples]
            )
            corners = boxes[:, :2].amin(dim=0), boxes[:, 2:].amax(dim=0)
            merged.merged_box = torch.cat(corners)
        # Maps of one view cannot stand for all.
        merged.pop('attention', None)
        return merged


def _on_first(boxes, sample, first):
    """From pixels of one view to pixels of another, which may have cut off a part."""
    boxes = to_input(to_original(boxes, sample), first).clamp(min=0)
    height, width = first.img_shape[:2]
    return boxes.minimum(boxes.new_tensor([width, height] * 2))
