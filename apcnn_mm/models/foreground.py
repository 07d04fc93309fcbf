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
    """Spatial attention of one level before its sigmoid, rising with its foreground map.

    The two learnt numbers say how much the mask varies around which value. It can neither
    turn round nor, as the map is standardised, saturate.
    """

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, foreground: Tensor) -> Tensor:
        """(N, 1, h, w) -> (N, 1, h, w), logits."""
        return self.scale.abs() * foreground + self.bias


@torch.no_grad()
def foreground_maps(inputs: Sequence[Tensor]) -> List[Tensor]:
    """How much each cell belongs to the object, from the activations alone.

    On the object, the highest output is more active (its mean over the channels) and
    differs more from its mean over the cells (its norm) than elsewhere. The sum of both is
    E, which is coarse. At each level, the direction d in which its features B differ
    between cells of low and high E then tells them apart at the level's own resolution::

        d = mean over the cells of E * (B - mean of B)
        S = min(3 * E, 0) + <d, B - mean of B>

    E, the scalar product and S are standardised (mean 0, deviation 1 over the cells) for
    each image, so that a batch equals its single images. Off the object, E decides; on it,
    the level's own cells, which spreads the ROIs over it: with E alone, all of them lie
    where its one maximum is.

    Args:
        inputs (Sequence[Tensor]): Backbone features from low to high, (N, C, h, w).

    Returns:
        List[Tensor]: S of each level, (N, 1, h, w), float32, without gradient.
    """
    highest = inputs[-1].float()
    activity = highest.clamp(min=0).mean(dim=1, keepdim=True)
    difference = _centred(highest).norm(dim=1, keepdim=True)
    energy = _standardised(activity) + _standardised(difference)
    maps = []
    for x in inputs:
        x = _centred(x.float())
        coarse = _standardised(F.interpolate(energy, x.shape[-2:], mode='bilinear'))
        direction = (coarse * x).mean(dim=(2, 3), keepdim=True)
        fine = _standardised((direction * x).sum(dim=1, keepdim=True))
        maps.append(_standardised(3 * coarse.clamp(max=0) + fine))
    return maps


def _centred(x):
    return x - x.mean(dim=(2, 3), keepdim=True)


def _standardised(x):
    x = _centred(x)
    return x / (x.square().mean(dim=(2, 3), keepdim=True).sqrt() + 1e-6)
