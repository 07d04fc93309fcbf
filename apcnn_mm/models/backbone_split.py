"""How backbones split into blocks, so that the refined stage can start halfway.

A block is a part of a backbone, such as conv3 of a ResNet; a stage is a pass of the whole
model, raw or refined. To add a family, list the blocks of its ``forward`` in a function at
the end of this file and register it with the class. The backbones of timm need none: they
tell themselves what they run.
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
    TIMMBackbone,
)
from torch import Tensor

from ..geometry import ORIGINAL
from .alexnet import PyramidAlexNet
from .timm_backbone import feature_info, gives_channels_last, list_modules

INPUT = 'input'
# Positions in front of the backbone: it runs twice as a whole.
PICTURES = [ORIGINAL, INPUT]
_FAMILIES: Dict[type, Callable[[nn.Module], List['Block']]] = {}


class Block(NamedTuple):
    """One block of a backbone.

    Attributes:
        name (str): What ``refine_at`` calls it.
        run (Callable[[Tensor], Tensor]): The block itself, (N, C, h, w) to (N, C', h', w').
        out_index (int | None): What the backbone's ``out_indices`` calls its output. None
            for a stem that the backbone cannot give out.
        output (Callable[[Tensor], Tensor] | None): What the backbone does to the block's
            features before it gives them out; the next block does not see it.
    """

    name: str
    run: Callable[[Tensor], Tensor]
    out_index: Optional[int] = None
    output: Optional[Callable[[Tensor], Tensor]] = None


def out_indices(backbone: nn.Module) -> Tuple[int, ...]:
    """The numbers of a backbone's outputs, from low to high. Empty if it tells none."""
    info = feature_info(backbone)
    return info.out_indices if info else tuple(getattr(backbone, 'out_indices', None) or ())


def run_backbone(backbone: nn.Module, images: Tensor) -> Tuple[Tensor, ...]:
    """From the images to the backbone's outputs, whatever the backbone.

    Args:
        backbone (nn.Module): The backbone.
        images (Tensor): (N, 3, H, W).

    Returns:
        Tuple[Tensor]: The outputs from low to high, (N, C_k, h_k, w_k).
    """
    outputs = backbone(images)
    if gives_channels_last(backbone):
        outputs = tuple(map(_channels_first, outputs))
    return outputs


def refinement_positions(backbone: nn.Module) -> List[str]:
    """Where features may be refined (Table 5), from low to high.

    Args:
        backbone (nn.Module): An mmpretrain backbone with several outputs.

    Returns:
        list[str]: 'original', 'input' and, for a known family, the names of the blocks up
        to the one of the lowest pyramid level, B_n in the paper.

    Raises:
        ValueError: If the backbone's outputs make no pyramid.
    """
    blocks = _blocks(backbone)
    return [*PICTURES, *(_up_to_lowest_output(backbone, blocks) if blocks else [])]


def find_position(backbone: nn.Module, refine_at: Optional[str] = None) -> str:
    """The refinement position of a backbone.

    Args:
        backbone (nn.Module): An mmpretrain backbone with several outputs.
        refine_at (str | None): 'original' for the picture as it was loaded, 'input' for
            the network's input, or the name of the block after which the features are
            refined. None is the block of the lowest pyramid level, B_n in the paper.
            Defaults to None.

    Raises:
        ValueError: If the backbone has no such block, if the block lies above the lowest
            pyramid level, or if nobody has told how the backbone splits.
    """
    positions = refinement_positions(backbone)
    name = _name(backbone)
    if positions == PICTURES and refine_at not in PICTURES:
        supported = ', '.join(sorted(family.__name__ for family in _FAMILIES))
        raise ValueError(
            f'Nobody has told how {name} splits into blocks: it can only be refined '
            "at the input image (model.refine_at='input') or the original picture "
            "(model.refine_at='original'). Backbones with the "
            f'forward of {supported} can be refined after a block, those of timm where '
            f'they are a row of modules; to add one, see {__name__}.'
        )
    if refine_at is None:
        return positions[-1]
    if refine_at not in positions:
        raise ValueError(
            f'refine_at={refine_at!r} is no refinement position of {name} with '
            f'out_indices={out_indices(backbone)}. Choose from {positions}.'
        )
    return refine_at


def run_until(backbone: nn.Module, images: Tensor, refine_at: Optional[str]) -> Tensor:
    """From the images to the low-level features that are refined.

    Args:
        backbone (nn.Module): The backbone.
        images (Tensor): (N, 3, H, W).
        refine_at (str | None): See :func:`find_position`.

    Returns:
        Tensor: B_n, (N, C, h, w). The images themselves at 'original' and 'input'.

    Raises:
        ValueError: If there is more than one tensor to refine.
    """
    for block in _split(backbone, refine_at)[0]:
        images = block.run(images)
    if not isinstance(images, Tensor):
        raise ValueError(
            f'{_name(backbone)} hands on several tensors after {block.name!r}: it can '
            "only be refined before that, or at the input (model.refine_at='input')."
        )
    return images


def run_onwards(
    backbone: nn.Module, features: Tensor, refine_at: Optional[str]
) -> Tuple[Tensor, ...]:
    """From (refined) low-level features to the backbone's outputs.

    Args:
        backbone (nn.Module): The backbone.
        features (Tensor): B_n or Z_n, (N, C, h, w).
        refine_at (str | None): See :func:`find_position`.

    Returns:
        Tuple[Tensor]: The outputs from low to high, (N, C_k, h_k, w_k).
    """
    below, above = _split(backbone, refine_at)
    if not below:  # at the input, where the backbone need not be known
        return run_backbone(backbone, features)
    outputs = _output(backbone, below[-1], features)
    for block in above:
        features = block.run(features)
        outputs += _output(backbone, block, features)
    return tuple(outputs)


def _name(backbone):
    """What errors call a backbone."""
    name = type(backbone).__name__
    inner = getattr(backbone, 'timm_model', None)
    return name if inner is None else f'{name} ({type(inner).__name__})'


def _channels_first(x):
    return x.permute(0, 3, 1, 2)


def _output(backbone, block, features):
    """What the backbone gives out after a block: a list of one tensor or none."""
    if block.out_index not in out_indices(backbone):
        return []
    return [block.output(features) if block.output else features]


def _split(backbone, refine_at):
    """The blocks below and above the refinement position.

    They are looked up for each pass: tools such as quantisation put other modules into a
    backbone, or another backbone into a model.
    """
    position = find_position(backbone, refine_at)
    if position in PICTURES:
        return [], []
    blocks = _blocks(backbone)
    end = [block.name for block in blocks].index(position) + 1
    return blocks[:end], blocks[end:]


def _blocks(backbone):
    """The blocks of a backbone of a known family, None for others."""
    for family, blocks in _FAMILIES.items():
        # A heir with a forward of its own may run its blocks in another way.
        if getattr(type(backbone), 'forward', None) is family.forward:
            return blocks(backbone)
    return None


def _up_to_lowest_output(backbone, blocks):
    """The names of the blocks that may be followed by the refinement."""
    name, wanted = _name(backbone), out_indices(backbone)
    possible = [b.out_index for b in blocks if b.out_index is not None]
    if not set(wanted) <= set(possible):
        raise ValueError(
            f'{name} cannot give out all of out_indices={wanted}. Choose from {possible}.'
        )
    if possible[-1] not in wanted:
        raise ValueError(
            f'{name} has blocks up to {possible[-1]}, but out_indices={wanted}: '
            'nothing would use those above, and their parameters would get no '
            f'gradient. Add {possible[-1]}.'
        )
    lowest = [b.out_index in wanted for b in blocks].index(True)
    return [b.name for b in blocks[: lowest + 1]]


def _family(backbone_type):
    def register(blocks):
        _FAMILIES[backbone_type] = blocks
        return blocks

    return register


def _numbered(prefix, runs, first=1):
    return [Block(f'{prefix}{i + first}', run, i) for i, run in enumerate(runs)]


def _named(backbone, names):
    return [Block(name, getattr(backbone, name), i) for i, name in enumerate(names)]


@_family(ResNet)
def _resnet(backbone):
    def conv1(x):
        if backbone.deep_stem:
            return backbone.stem(x)
        return backbone.relu(backbone.norm1(backbone.conv1(x)))

    def conv2(x):
        return backbone.layer1(backbone.maxpool(x))

    higher = [getattr(backbone, name) for name in backbone.res_layers[1:]]
    return [Block('conv1', conv1), *_numbered('conv', [conv2, *higher], first=2)]


@_family(RegNet)
def _regnet(backbone):
    def conv1(x):
        return backbone.relu(backbone.norm1(backbone.conv1(x)))

    higher = [getattr(backbone, name) for name in backbone.res_layers]
    return [Block('conv1', conv1), *_numbered('conv', higher, first=2)]


@_family(PyramidAlexNet)
@_family(VGG)
def _vgg(backbone):
    if backbone.num_classes > 0:
        raise ValueError(
            f'{type(backbone).__name__} with num_classes={backbone.num_classes} gives '
            'class scores besides its features. Leave out backbone.num_classes.'
        )
    # Each block ends with its pooling, if it has one.
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
        block._replace(output=getattr(backbone, f'norm{block.out_index}', None))
        for block in _numbered('stage', runs)
    ]


@_family(MobileNetV2)
def _mobilenet_v2(backbone):
    return [Block('conv1', backbone.conv1), *_named(backbone, backbone.layers)]


@_family(MobileNetV3)
def _mobilenet_v3(backbone):
    return _named(backbone, backbone.layers)


@_family(EfficientNet)
def _efficientnet(backbone):
    return _numbered('layer', backbone.layers, first=0)


@_family(TIMMBackbone)
def _timm(backbone):
    modules = list_modules(backbone)
    # Where boxes lie in features is only known for these strides.
    if modules is None or any(x & (x - 1) for x in feature_info(backbone).strides):
        return None
    blocks = []
    for i, (name, module, out_index) in enumerate(modules):
        run = _channels_last(module, i > 0) if gives_channels_last(backbone) else module
        if getattr(module, 'inplace', False):
            # An activation would change the features that are refined later.
            run = _one_after_another(blocks.pop().run, run)
        blocks.append(Block(name, run, out_index, _first))
    return blocks


def _first(x):
    return x[0] if isinstance(x, (list, tuple)) else x


def _one_after_another(first, second):
    return lambda x: second(first(x))


def _channels_last(module, takes_them):
    """A module that gives out, and perhaps takes, (N, h, w, C)."""

    def run(x):
        return _channels_first(module(x.permute(0, 2, 3, 1) if takes_them else x))

    return run
