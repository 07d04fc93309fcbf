"""Small pictures for the pages."""

from typing import Callable

import numpy as np
from matplotlib import colormaps
from mmcv.image import imresize
from mmpretrain.registry import VISUALIZERS

from ..apis import APCNNInferencer
from ..apis.images import read_image, to_rgb
from ..visualization import predict_with_attention

HEIGHT = 160  # of the pictures, in pixels
MAX_RATIO = 3  # of their sides: a panorama must not push the rest off the page

Draw = Callable[[str], np.ndarray]


def draw_plain(inferencer: APCNNInferencer) -> Draw:
    """What draws pictures as they are.

    Args:
        inferencer (APCNNInferencer): What reads them.

    Returns:
        Callable[[str], np.ndarray]: From a path to (HEIGHT, W, 3), RGB.
    """

    def draw(path):
        return _to_height(to_rgb(read_image(path, inferencer.loading)['img']))

    return draw


def draw_evidence(inferencer: APCNNInferencer) -> Draw:
    """What draws pictures with their ROIs, and their spatial attention beside them.

    Args:
        inferencer (APCNNInferencer): The model. Where it has no spatial attention or no
            ROIs, the pictures are drawn as they are.

    Returns:
        Callable[[str], np.ndarray]: From a path to (HEIGHT, W, 3), RGB: the whole picture
        with its ROIs, and what the network gets of it with the attention of each level,
        from high to low as in Figure 5, all on one scale from 0 (blue) to 1 (red).
    """
    plain = draw_plain(inferencer)
    model = inferencer.model
    if not model.roi_generator or not model.neck.spatial:
        return plain
    visualizer = VISUALIZERS.build(dict(type='ROIVisualizer', name='report'))

    def draw(path):
        picture = plain(path)
        (image,), (sample,), (attention,) = predict_with_attention(
            model, [inferencer.load(path)]
        )
        tiles = [visualizer.draw_rois(picture, sample, original=True)]
        size = picture.shape[1::-1]
        for level in reversed(attention):
            heat = colormaps['jet'](imresize(level.float().cpu().numpy(), size))[..., :3]
            tiles.append((0.5 * imresize(image, size) + 127.5 * heat).astype(np.uint8))
        gap = np.full((HEIGHT, 4, 3), 255, np.uint8)
        return np.hstack([part for tile in tiles for part in (tile, gap)][:-1])

    return draw


def _to_height(picture):
    height, width = picture.shape[:2]
    width = min(
        MAX_RATIO * HEIGHT, max(HEIGHT // MAX_RATIO, round(width * HEIGHT / height))
    )
    return imresize(picture, (width, HEIGHT), interpolation='area')
