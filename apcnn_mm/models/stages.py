"""How backbones split into stages, so that the refined stage can start halfway.

To add a family, list the stages of its ``forward`` in a function at the end of this
file and register it with the class.
"""

from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

import torch.nn as nn
from mmpretrain.models.backbones import MobileNetV2, ResNet
from torch import Tensor

_FAMILIES: Dict[type, Callable[[nn.Module], List['Stage']]] = {}


class Stage(NamedTuple):
    """One stage of a backbone.

    Attributes:
        name (str): What ``refine_at`` calls it.
        run (Callable[[Tensor], Tensor]): The stage itself.
        out_index (int): What the backbone's ``out_indices`` calls its output. A stem
            that the backbone cannot give out has -1.
    """

    name: str
    run: Callable[[Tensor], Tensor]
    out_index: int


class BackboneStages:
    """Runs a backbone in two parts: up to the refinement position, and from it on.

    Args:
        backbone (nn.Module): An mmpretrain backbone with several outputs.
        refine_at (str | None): The refinement position (Table 5): 'input' or the name
            of the stage after which the features are refined. None is the stage of the
            lowest pyramid level, B_n in the paper. Defaults to None.

    Raises:
        ValueError: If the backbone has no such stage, if the stage lies above the
            lowest pyramid level, or if nobody has told how the backbone splits.
    """

    def __init__(self, backbone: nn.Module, refine_at: Optional[str] = None):
        self.backbone = backbone
        self.refine_at = refine_at
        if refine_at == 'input':
            return
        stages, lowest = self._stages(), min(backbone.out_indices)
        if stages[-1].out_index not in backbone.out_indices:
            raise ValueError(
                f'{type(backbone).__name__} has stages up to {stages[-1].out_index}, but '
                f'out_indices={backbone.out_indices}: nothing would use those above, and '
                'their parameters would get no gradient. Add the last one.'
            )
        possible = [stage.name for stage in stages if stage.out_index <= lowest]
        if refine_at is None:
            self.refine_at = possible[-1]
        elif refine_at not in possible:
            raise ValueError(
                f'refine_at={refine_at!r} is no refinement position of '
                f'{type(backbone).__name__} with out_indices={backbone.out_indices}. '
                f'Choose from {["input", *possible]}.'
            )

    def until(self, images: Tensor) -> Tensor:
        """From the images to the low-level features that are refined."""
        for stage in self._split()[0]:
            images = stage.run(images)
        return images

    def onwards(self, features: Tensor) -> Tuple[Tensor, ...]:
        """From (refined) low-level features to the backbone's outputs, low to high."""
        if self.refine_at == 'input':
            return self.backbone(features)
        below, above = self._split()
        outputs = [features] if below[-1].out_index in self.backbone.out_indices else []
        for stage in above:
            features = stage.run(features)
            if stage.out_index in self.backbone.out_indices:
                outputs.append(features)
        return tuple(outputs)

    def _split(self):
        if self.refine_at == 'input':
            return [], []
        # Not kept: tools such as quantisation put other modules into the backbone.
        stages = self._stages()
        position = [stage.name for stage in stages].index(self.refine_at) + 1
        return stages[:position], stages[position:]

    def _stages(self):
        for family, stages in _FAMILIES.items():
            # A heir with a forward of its own may run its stages in another way.
            if getattr(type(self.backbone), 'forward', None) is family.forward:
                return stages(self.backbone)
        supported = ', '.join(sorted(family.__name__ for family in _FAMILIES))
        raise ValueError(
            f'Nobody has told how {type(self.backbone).__name__} splits into stages: '
            f"it can only be refined at the input image (model.refine_at='input'). "
            f'Backbones with the forward of {supported} can be refined after a stage; '
            f'to add one, see {__name__}.'
        )


def _family(backbone_type):
    def register(stages):
        _FAMILIES[backbone_type] = stages
        return stages

    return register


@_family(ResNet)
def _resnet(backbone):
    def conv1(x):
        if backbone.deep_stem:
            return backbone.stem(x)
        return backbone.relu(backbone.norm1(backbone.conv1(x)))

    def conv2(x):
        return backbone.layer1(backbone.maxpool(x))

    layers = [getattr(backbone, name) for name in backbone.res_layers[1:]]
    runs = [conv1, conv2, *layers]
    return [Stage(f'conv{i + 1}', run, i - 1) for i, run in enumerate(runs)]


@_family(MobileNetV2)
def _mobilenet_v2(backbone):
    names = ['conv1', *backbone.layers]
    return [Stage(name, getattr(backbone, name), i - 1) for i, name in enumerate(names)]
