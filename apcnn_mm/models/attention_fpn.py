"""Attention pyramid (section 3.1): FPN, spatial and channel attention."""

from typing import NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.models.necks import FPN
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor

from ..arguments import check_choice, check_config, check_number, check_numbers
from .foreground import ForegroundGate, foreground_maps


class AttentionPyramid(NamedTuple):
    """What the neck yields, one entry for each level from low (fine) to high.

    Attributes:
        features (Tuple[Tensor]): F_k, (N, C, h, w).
        spatial (Tuple[Tensor] | None): Spatial attention of Eq. 1, (N, 1, h, w), float32.
        attended (Tuple[Tensor]): F'_k of Eq. 4, (N, C, h, w).
        logits (Tuple[Tensor] | None): What the sigmoid of Eq. 1 made ``spatial`` of,
            (N, 1, h, w), float32. None where masks have been joined since.
    """

    features: Tuple[Tensor, ...]
    spatial: Optional[Tuple[Tensor, ...]]
    attended: Tuple[Tensor, ...]
    logits: Optional[Tuple[Tensor, ...]] = None


class SpatialGate(BaseModule):
    """Spatial attention of one level before its sigmoid (Eq. 1).

    It is float32 whatever the precision of the features: the ROIs are a matter of order,
    and half precision ties neighbouring cells.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(channels, 1, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, 1, h, w), logits."""
        with torch.autocast(x.device.type, enabled=False):
            weight, bias = self.deconv.weight.float(), self.deconv.bias.float()
            return F.conv_transpose2d(x.float(), weight, bias, padding=1)


class ChannelGate(BaseModule):
    """Channel attention mask of one level (Eq. 2), (N, C, h, w) -> (N, C, 1, 1)."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, kernel_size=1)
        self.fc2 = nn.Conv2d(channels // reduction, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(x, 1)  # Eq. 3
        return self.fc2(self.fc1(x).relu()).sigmoid()


class GlobalContextLateral(BaseModule):
    """The released code's highest lateral: a map plus its globally pooled twin.

    Args:
        in_channels (int): Channels of the highest backbone feature.
        out_channels (int): Channels of the pyramid.
        norm_cfg (dict): Normalisation of both branches.
    """

    def __init__(self, in_channels: int, out_channels: int, norm_cfg: dict):
        super().__init__()
        self.local_conv = ConvModule(in_channels, out_channels, 1, norm_cfg=norm_cfg)
        self.global_conv = ConvModule(in_channels, out_channels, 1, norm_cfg=norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        return self.local_conv(x) + self.global_conv(F.adaptive_avg_pool2d(x, 1))


@MODELS.register_module()
class AttentionFPN(FPN):
    """Feature pyramid with an attention pyramid on top.

    The top-down pathway is mmdet's :class:`FPN`. Each level then gets a spatial and a
    channel attention mask, which weight its features (Eq. 4). Masks can be handed
    from lower to higher levels in a bottom-up pathway.

    Args:
        in_channels (Sequence[int]): Channels of each backbone feature, low to high.
        out_channels (int): Channels of the pyramid. Defaults to 256.
        spatial (str | None): Spatial attention: None, 'gate' (one mask for each level)
            or 'pathway' (bottom-up as well). Defaults to 'gate'.
        spatial_gate (str): What the spatial attention is made of: 'deconv', the paper's
            convolution of the pyramid's features (Eq. 1), or 'foreground', what stands
            out in the backbone's outputs, see :func:`foreground_maps`. Batch normalisation
            behind the attention makes a mask and its complement equally good for the
            classifiers, so that a convolution may learn to look away from the object, and
            most of its values to be 0 or 1. 'foreground' can do neither. Defaults to
            'deconv'.
        channel (str | None): Channel attention, likewise. The defaults are the paper's
            "FPN + S + CP", and the other pairs are the other rows of its Table 3.
            Defaults to 'pathway'.
        reduction (int): By how much the channel gate's first layer reduces the
            channels. Defaults to 16.
        pathway_fusion (str): How the bottom-up pathway joins a level's mask with that
            of the level below: 'average', as in the released code, or 'sum', as in the
            paper. Defaults to 'average'.
        global_context (bool): Whether the highest lateral is the released code's, with
            normalisation, ReLU and a globally pooled branch, or the paper's plain 1x1
            convolution. Defaults to True.
        norm_cfg (dict): Normalisation of the highest lateral. Defaults to
            ``dict(type='BN', momentum=0.01)``, the released code's.
        init_cfg (dict): Initialisation. Defaults to mmdet FPN's, for the spatial gates
            as well: PyTorch's own takes their one output channel for the fan-in, and
            most of the attention starts at 0 or 1.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int = 256,
        spatial: Optional[str] = 'gate',
        channel: Optional[str] = 'pathway',
        reduction: int = 16,
        pathway_fusion: str = 'average',
        global_context: bool = True,
        norm_cfg: dict = dict(type='BN', momentum=0.01),
        init_cfg: dict = dict(
            type='Xavier', layer=['Conv2d', 'ConvTranspose2d'], distribution='uniform'
        ),
        spatial_gate: str = 'deconv',
    ):
        check_numbers('neck.in_channels', in_channels, integer=True, minimum=1)
        check_number('neck.out_channels', out_channels, integer=True, minimum=1)
        check_choice('neck.spatial_gate', spatial_gate, ('deconv', 'foreground'))
        for name, kind in (('spatial', spatial), ('channel', channel)):
            check_choice(f'neck.{name}', kind, (None, 'gate', 'pathway'))
        check_number(
            'neck.reduction', reduction, integer=True, minimum=1, maximum=out_channels
        )
        check_choice('neck.pathway_fusion', pathway_fusion, ('average', 'sum'))
        check_choice('neck.global_context', global_context, (True, False))
        check_config('neck.norm_cfg', norm_cfg, optional=not global_context)
        if not isinstance(init_cfg, list):  # several of them
            check_config('neck.init_cfg', init_cfg, optional=True)
        super().__init__(
            list(in_channels), out_channels, num_outs=len(in_channels), init_cfg=init_cfg
        )
        self.spatial = spatial
        self.spatial_gate = spatial_gate
        self.channel = channel
        self.pathway_fusion = pathway_fusion
        if global_context:
            # AP-CNN: the paper's parameter count includes it.
            self.lateral_convs[-1] = GlobalContextLateral(
                in_channels[-1], out_channels, norm_cfg
            )
        if spatial:
            foreground = spatial_gate == 'foreground'
            self.spatial_gates = nn.ModuleList(
                ForegroundGate() if foreground else SpatialGate(out_channels)
                for _ in in_channels
            )
        if channel:
            self.channel_gates = nn.ModuleList(
                ChannelGate(out_channels, reduction) for _ in in_channels
            )

    def forward(self, inputs: Tuple[Tensor, ...]) -> AttentionPyramid:
        """Build the pyramids.

        Args:
            inputs (Tuple[Tensor]): Backbone features from low to high, (N, C_k, h, w).

        Returns:
            AttentionPyramid: Features, spatial attention and attended features.

        Raises:
            ValueError: If the backbone's channels are not those of ``in_channels``.
        """
        channels = [x.size(1) for x in inputs]
        if channels != self.in_channels:
            raise ValueError(
                f'The outputs of the backbone have {channels} channels, but '
                f'neck.in_channels={self.in_channels}.'
            )
        features = super().forward(inputs)
        logits = spatial = channel = None
        if self.spatial:
            foreground = self.spatial_gate == 'foreground'
            maps = foreground_maps(inputs) if foreground else features
            logits = tuple(gate(x) for gate, x in zip(self.spatial_gates, maps))
            spatial = tuple(x.sigmoid() for x in logits)
            if self.spatial == 'pathway':
                logits, spatial = None, tuple(self._bottom_up(spatial))
        if self.channel:
            channel = [gate(x) for gate, x in zip(self.channel_gates, features)]
            if self.channel == 'pathway':
                channel = self._bottom_up(channel)
        if spatial and channel:
            weights = [s + c for s, c in zip(spatial, channel)]
        else:
            weights = spatial or channel
        attended = features
        if weights:
            attended = tuple(x * a.to(x) for x, a in zip(features, weights))
        return AttentionPyramid(features, spatial, attended, logits)

    def _bottom_up(self, masks):
        """Hand each level's mask to the level above it."""
        joined = [masks[0]]
        for mask in masks[1:]:
            # Channel masks have one cell. The paper does not say how spatial masks
            # shrink to the higher level's size.
            below = F.adaptive_avg_pool2d(joined[-1], mask.shape[-2:])
            mask = mask + below
            joined.append(mask / 2 if self.pathway_fusion == 'average' else mask)
        return joined
