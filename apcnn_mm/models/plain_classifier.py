"""The backbone alone, which AP-CNN is compared with."""

from typing import Optional

from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.registry import MODELS
from torch import nn

from .pretrained import PretrainedBackbone
from .timm_backbone import build_backbone, feature_info


@MODELS.register_module()
class PlainClassifier(PretrainedBackbone, ImageClassifier):
    """An image classifier on AP-CNN's backbone: "Baseline" in Tables 2 and 6.

    Args:
        backbone (dict): Any backbone, as for :class:`APCNN`: one of timm also takes weights
            under timm's own names, which mmpretrain's classifiers would leave out.
        head (dict, optional): The head. With a backbone of timm, its ``in_channels`` may be
            None: those of the last output.
        **kwargs: Arguments of :class:`ImageClassifier`.
    """

    def __init__(self, backbone: dict, head: Optional[dict] = None, **kwargs):
        if not isinstance(backbone, nn.Module):
            backbone = build_backbone(backbone)
        info = feature_info(backbone)
        if info and isinstance(head, dict) and head.get('in_channels') is None:
            head = {**head, 'in_channels': info.channels[-1]}
        super().__init__(backbone, head=head, **kwargs)
