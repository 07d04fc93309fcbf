"""How backbones split into stages, so that the refined stage can start halfway.

To add a family, list the stages of its ``forward`` in a function at the end of this
file and register it with the class.
"""

from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

import torch.nn as nn
from mmpretrain.models.backbones import (
    VGG,
    ConvNeXt,
    EfficientNet,
    MobileNetV2,
    MobileNetV3,
    RegNet,
    ResNet,
)
from torch import Tensor

from .alexnet import PyramidAlexNet

_FAMILIES: Dict[type, Callable[[nn.Module], List['Stage']]] = {}


class Stage(NamedTuple):
    """One stage of a backbone.

    Attributes:
        name (str): What ``refine_at`` calls it.
        run (Callable[[Tensor], Tensor]): The stage itself, (N, C, h, w) to (N, C', h', w').
        out_index (int | None): What the backbone's ``out_indices`` calls its output. None
            for a stem that the backbone cannot give out.
        output (Callable[[Tensor], Tensor] | None): What the backbone does to the stage's
            features before it gives them out; the next stage does not see it.
    """

    name: str
    run: Callable[[Tensor], Tensor]
    out_index: Optional[int] = None
    output: Optional[Callable[[Tensor], Tensor]] = None


class BackboneStages:
    """Runs a backbone in two parts: up to the refinement position, and from it on.

    Args:
        backbone (nn.Module): An mmpretrain backbone with several outputs.
        refine_at (str | None): The refinement position (Table 5): 'input' or the name
            of the stage after which the features are refined. None is the stage of the
            lowest pyramid level, B_n in the paper. Defaults to None.

    Attributes:
        positions (List[str]): The refinement positions of this backbone, low to high.

    Raises:
        ValueError: If the backbone has no such stage, if the stage lies above the
            lowest pyramid level, if nobody has told how the backbone splits, or if the
            backbone's outputs make no pyramid.
    """

    def __init__(self, backbone: nn.Module, refine_at: Optional[str] = None):
        self.backbone = backbone
        stages = self._stages()
        name = type(backbone).__name__
        if stages is None and refine_at != 'input':
            supported = ', '.join(sorted(family.__name__ for family in _FAMILIES))
            raise ValueError(
                f'Nobody has told how {name} splits into stages: it can only be refined '
                "at the input image (model.refine_at='input'). Backbones with the "
                f'forward of {supported} can be refined after a stage; to add one, see '
                f'{__name__}.'
            )
        self.positions = ['input', *(self._up_to_lowest_output(stages) if stages else [])]
        self.refine_at = self.positions[-1] if refine_at is None else refine_at
        if self.refine_at not in self.positions:
            raise ValueError(
                f'refine_at={refine_at!r} is no refinement position of {name} with '
                f'out_indices={backbone.out_indices}. Choose from {self.positions}.'
            )

    def until(self, images: Tensor) -> Tensor:
        """From the images to the low-level features that are refined.

        Args:
            images (Tensor): (N, 3, H, W).

        Returns:
            Tensor: B_n, (N, C, h, w). The images themselves at 'input'.
        """
        for stage in self._split()[0]:
            images = stage.run(images)
        return images

    def onwards(self, features: Tensor) -> Tuple[Tensor, ...]:
        """From (refined) low-level features to the backbone's outputs.

        Args:
            features (Tensor): B_n or Z_n, (N, C, h, w).

        Returns:
            Tuple[Tensor]: The outputs from low to high, (N, C_k, h_k, w_k).
        """
        if self.refine_at == 'input':
            return self.backbone(features)
        below, above = self._split()
        outputs = self._output(below[-1], features)
        for stage in above:
            features = stage.run(features)
            outputs += self._output(stage, features)
        return tuple(outputs)

    def _output(self, stage, features):
        """What the backbone gives out after a stage: a list of one tensor or none."""
        if stage.out_index not in self.backbone.out_indices:
            return []
        return [stage.output(features) if stage.output else features]

    def _split(self):
        if self.refine_at == 'input':
            return [], []
        # Not kept: tools such as quantisation put other modules into the backbone.
        stages = self._stages()
        position = [stage.name for stage in stages].index(self.refine_at) + 1
        return stages[:position], stages[position:]

    def _stages(self):
        """The stages of a backbone of a known family, None for others."""
        for family, stages in _FAMILIES.items():
            # A heir with a forward of its own may run its stages in another way.
            if getattr(type(self.backbone), 'forward', None) is family.forward:
                return stages(self.backbone)
        return None

    def _up_to_lowest_output(self, stages):
        """The names of the stages that may be followed by the refinement."""
        name, wanted = type(self.backbone).__name__, self.backbone.out_indices
        possible = [s.out_index for s in stages if s.out_index is not None]
        if not set(wanted) <= set(possible):
            raise ValueError(
                f'{name} cannot give out all of out_indices={wanted}. '
                f'Choose from {possible}.'
            )
        if possible[-1] not in wanted:
            raise ValueError(
                f'{name} has stages up to {possible[-1]}, but out_indices={wanted}: '
                'nothing would use those above, and their parameters would get no '
                f'gradient. Add {possible[-1]}.'
            )
        lowest = [s.out_index in wanted for s in stages].index(True)
        return [s.name for s in stages[: lowest + 1]]


def _family(backbone_type):
    def register(stages):
        _FAMILIES[backbone_type] = stages
        return stages

    return register


def _numbered(prefix, runs, first=1):
    return [Stage(f'{prefix}{i + first}', run, i) for i, run in enumerate(runs)]


def _named(backbone, names):
    return [Stage(name, getattr(backbone, name), i) for i, name in enumerate(names)]


@_family(ResNet)
def _resnet(backbone):
    def conv1(x):
        if backbone.deep_stem:
            return backbone.stem(x)
        return backbone.relu(backbone.norm1(backbone.conv1(x)))

    def conv2(x):
        return backbone.layer1(backbone.maxpool(x))

    higher = [getattr(backbone, name) for name in backbone.res_layers[1:]]
    return [Stage('conv1', conv1), *_numbered('conv', [conv2, *higher], first=2)]


@_family(RegNet)
def _regnet(backbone):
    def conv1(x):
        return backbone.relu(backbone.norm1(backbone.conv1(x)))

    higher = [getattr(backbone, name) for name in backbone.res_layers]
    return [Stage('conv1', conv1), *_numbered('conv', higher, first=2)]


@_family(PyramidAlexNet)
@_family(VGG)
def _vgg(backbone):
    if backbone.num_classes > 0:
        raise ValueError(
            f'{type(backbone).__name__} with num_classes={backbone.num_classes} gives '
            'class scores besides its features. Leave out backbone.num_classes.'
        )
    # Each stage ends with its pooling, if it has one.
    ranges = backbone.range_sub_modules
    return _numbered('conv', [backbone.features[start:end] for start, end in ranges])


@_family(ConvNeXt)
def _convnext(backbone):
    if backbone.gap_before_final_norm:
        raise ValueError(
            'ConvNeXt pools its outputs to one cell, which leaves nothing to attend to. '
            'Set backbone.gap_before_final_norm=False.'
        )
    runs = map(nn.Sequential, backbone.downsample_layers, backbone.stages)
    return [
        stage._replace(output=getattr(backbone, f'norm{stage.out_index}', None))
        for stage in _numbered('stage', runs)
    ]


@_family(MobileNetV2)
def _mobilenet_v2(backbone):
    return [Stage('conv1', backbone.conv1), *_named(backbone, backbone.layers)]


@_family(MobileNetV3)
def _mobilenet_v3(backbone):
    return _named(backbone, backbone.layers)


@_family(EfficientNet)
def _efficientnet(backbone):
    return _numbered('layer', backbone.layers, first=0)
