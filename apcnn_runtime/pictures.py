"""Pictures of what a model looked at, drawn by Pillow."""

from typing import Optional, Sequence

import numpy as np
from PIL import Image, ImageColor, ImageDraw

# Figure 5: red, blue and green from the high to the low pyramid level. Here from the low
# level on; with more levels the colours repeat.
LEVEL_COLORS = ('lime', 'blue', 'red')
MERGED_COLOR = 'white'
# A camera's photograph would take seconds to draw and tens of megabytes to keep.
PICTURE_SIZE = 1000
# From no attention to all of it.
_HEAT = np.array(
    [ImageColor.getrgb(name) for name in ('blue', 'cyan', 'lime', 'yellow', 'red')]
)


def draw_rois(
    picture: Image.Image, rois: Sequence[dict], merged_box: Optional[Sequence[float]]
) -> np.ndarray:
    """Draw ROIs in the colours of their levels, and the box around them.

    Args:
        picture (Image): The picture.
        rois (Sequence[dict]): Each with its ``box``, (x1, y1, x2, y2) in pixels of the
            picture, and ``level``.
        merged_box (Sequence[float] | None): The box around them.

    Returns:
        np.ndarray: (H, W, 3), RGB. The longer side has at most ``PICTURE_SIZE`` pixels.
    """
    scale = min(1, PICTURE_SIZE / max(picture.size))
    size = [max(1, round(scale * side)) for side in picture.size]
    drawn = picture.resize(size, Image.Resampling.BILINEAR)
    canvas = ImageDraw.Draw(drawn)
    outlines = [
        (roi['box'], LEVEL_COLORS[roi['level'] % len(LEVEL_COLORS)]) for roi in rois
    ]
    if merged_box is not None:
        outlines.append((merged_box, MERGED_COLOR))
    for box, colour in outlines:
        # Boxes may reach past the picture.
        corners = np.clip(np.multiply(box, scale), 0, np.tile(size, 2) - 1)
        canvas.rectangle(corners.tolist(), outline=colour, width=2)
    return np.asarray(drawn)


def draw_attention(picture: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """Lay the spatial attention of a level over a picture.

    Args:
        picture (np.ndarray): (H, W, 3), RGB.
        attention (np.ndarray): (h, w), from 0, blue, to 1, red.

    Returns:
        np.ndarray: (H, W, 3), RGB.
    """
    height, width = picture.shape[:2]
    mask = Image.fromarray(attention.astype(np.float32))
    mask = np.asarray(mask.resize((width, height), Image.Resampling.BILINEAR))
    steps = np.linspace(0, 1, len(_HEAT))
    heat = np.stack([np.interp(mask, steps, channel) for channel in _HEAT.T], axis=-1)
    return ((picture + heat) / 2).astype(np.uint8)
