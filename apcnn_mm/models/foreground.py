"""Spatial attention from what is active in the backbone.

Shape shorthand in this module:
    N: number of images
    C: channels of one backbone output
    h, w: its cells
"""

from typing import List, Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor


class ForegroundGate(BaseModule):
    """Spatial attention mask of one level, a rising function of its foreground map.

    The two learnt numbers say how much the mask varies around which value. It can neither
    turn round nor, as the map is standardised, saturate.
    """

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, foreground: Tensor) -> Tensor:
        return (self.scale.abs() * foreground + self.bias).sigmoid()


@torch.no_grad()
def foreground_maps(inputs: Sequence[Tensor]) -> List[Tensor]:
    """How much each cell belongs to the object, from the activations alone.

    Where the highest output is active on average over its channels (its energy), there is
    the object, but coarsely. Within each level, the direction from the inactive to the
    active cells then tells them apart at the level's own resolution::

        E = energy of the highest output, resized to the level
        d = mean over the cells of E * (B - mean of B), (C, )
        S = min(3 * E, 0) + <d, B - mean of B>

    E, the scalar product and S are standardised for each image (mean 0, deviation 1): a
    batch equals its single images. Outside the object E decides, within it the level's
    own cells, which spreads the ROIs over the object.

    Args:
        inputs (Sequence[Tensor]): Backbone features from low to high, (N, C, h, w).

    Returns:
        List[Tensor]: S of each level, (N, 1, h, w), float32, without gradient.
    """
    energy = inputs[-1].float().clamp(min=0).mean(dim=1, keepdim=True)
    maps = []
    for x in inputs:
        x = x.float() - x.float().mean(dim=(2, 3), keepdim=True)
        active = _standardised(F.interpolate(energy, x.shape[-2:], mode='bilinear'))
        direction = (active * x).mean(dim=(2, 3), keepdim=True)
        own = _standardised((direction * x).sum(dim=1, keepdim=True))
        maps.append(_standardised(3 * active.clamp(max=0) + own))
    return maps


def _standardised(x):
    x = x - x.mean(dim=(2, 3), keepdim=True)
    return x / (x.square().mean(dim=(2, 3), keepdim=True).sqrt() + 1e-6)
