"""Draw what AP-CNN looked at."""

import warnings
from contextlib import contextmanager
from typing import Optional, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from mmengine.dist import master_only
from mmengine.logging import MMLogger
from mmengine.visualization import MLflowVisBackend
from mmpretrain.registry import VISUALIZERS
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer
from torch import Tensor

from apcnn_runtime.pictures import LEVEL_COLORS, MERGED_COLOR

from ..geometry import to_input, to_original
from .names import as_lines, as_text, text_style

OBJECT_COLOR = 'yellow'


@VISUALIZERS.register_module()
class ROIVisualizer(UniversalVisualizer):
    """mmpretrain's visualizer with the ROI pyramid of AP-CNN's predictions.

    It works wherever a config names mmpretrain's: in its hook, ``tools/test.py
    --show-dir``, inferencers and notebooks. Names of classes are drawn as they are
    written, and a visual backend that takes no picture does not end a training.
    """

    @master_only
    def visualize_cls(
        self,
        image: np.ndarray,
        data_sample: DataSample,
        original: bool = False,
        classes: Optional[Sequence[str]] = None,
        text_cfg: dict = dict(),
        **kwargs,
    ):
        """Draw the prediction and, where the sample has them, its ROIs.

        Args:
            image (np.ndarray): (H, W, 3), the input of the network or the original image.
            data_sample (DataSample): The prediction.
            original (bool): Whether it is the original image. Defaults to False.
            classes (Sequence[str], optional): Names of the classes. Defaults to those of
                the data set.
            text_cfg (dict): Properties of the text. Defaults to dict().
            **kwargs: Other arguments of :meth:`UniversalVisualizer.visualize_cls`.

        Returns:
            np.ndarray: The picture.
        """
        if 'rois' in data_sample:
            image = self.draw_rois(image, data_sample, original)
        classes = classes or self._class_names()
        return super().visualize_cls(
            image,
            data_sample,
            classes=classes and [as_text(name) for name in classes],
            text_cfg={**text_style(classes or (), 'monospace'), **text_cfg},
            **kwargs,
        )

    @master_only
    def draw_texts(self, *args, **kwargs):
        """mmengine's, with ``$`` as a character; see :meth:`Visualizer.draw_texts`."""
        with rc_context({'text.parse_math': False}):
            return super().draw_texts(*args, **kwargs)

    @master_only
    def get_image(self) -> np.ndarray:
        """The drawn image, (H, W, 3) RGB."""
        with _no_glyph_warnings():
            return super().get_image()

    @master_only
    def add_image(self, name: str, image: np.ndarray, step: int = 0):
        """Hand a picture to the visual backends.

        Args:
            name (str): What it shows.
            image (np.ndarray): (H, W, 3) RGB.
            step (int): When it was drawn. Defaults to 0.
        """
        for backend in self._vis_backends.values():
            # AP-CNN: MLflow takes names of files alone, and would overwrite the picture.
            is_mlflow = isinstance(backend, MLflowVisBackend)
            try:
                backend.add_image(f'{name}_{step}.png' if is_mlflow else name, image, step)
            except Exception as error:  # services raise errors of all kinds
                MMLogger.get_current_instance().warning(
                    f'{type(backend).__name__} did not take the picture {name!r}: '
                    f'{type(error).__name__}: {error}'
                )

    def draw_rois(
        self, image: np.ndarray, data_sample: DataSample, original: bool = False
    ) -> np.ndarray:
        """Draw the ROIs in the colours of their levels, and the boxes around them.

        Args:
            image (np.ndarray): (H, W, 3), the input of the network or the original image.
            data_sample (DataSample): A prediction with ROIs. The merged box is drawn
                white, the object's own box, where the sample has one, yellow.
            original (bool): Whether it is the original image, at any size. Its own
                height and width are the sample's ``picture_shape`` or, without that,
                its ``ori_shape``. Defaults to False.

        Returns:
            np.ndarray: (H, W, 3).
        """
        h, w = image.shape[:2]

        def on_image(boxes):
            if original:
                # A transform may have removed rows or columns that the picture has.
                height, width = data_sample.get('picture_shape', data_sample.ori_shape)[:2]
                boxes = to_original(boxes, data_sample)
                boxes = boxes * boxes.new_tensor([w / width, h / height] * 2)
            # mmengine would warn of a box that reaches the edge of the image.
            return boxes.clamp(min=0).minimum(boxes.new_tensor([w, h] * 2) - 0.01)

        self.set_image(image)
        for box, level in zip(on_image(data_sample.rois.cpu()), data_sample.roi_levels):
            colour = LEVEL_COLORS[int(level) % len(LEVEL_COLORS)]
            self.draw_bboxes(box, edge_colors=colour, line_widths=1.5)
        merged = data_sample.merged_box.cpu()
        outlines = {MERGED_COLOR: merged}
        if 'object_box' in data_sample:
            box = merged.new_tensor(data_sample.object_box)
            outlines[OBJECT_COLOR] = to_input(box, data_sample)
        for colour, box in outlines.items():
            self.draw_bboxes(
                on_image(box), edge_colors=colour, line_styles='--', line_widths=1.5
            )
        return self.get_image()

    def draw_figure(
        self,
        images: Sequence[np.ndarray],
        data_samples: Sequence[DataSample],
        attentions: Sequence[Sequence[Tensor]],
        title: str = '',
    ) -> np.ndarray:
        """Draw several images with their ROIs and spatial attention (Figure 5).

        Args:
            images (Sequence[np.ndarray]): The inputs of the network, (H, W, 3) each.
            data_samples (Sequence[DataSample]): Their predictions with ROIs.
            attentions (Sequence[Sequence[Tensor]]): The spatial attention of each level
                of each image, (h, w), from the low to the high level.
            title (str): Title of the figure. Defaults to ''.

        Returns:
            np.ndarray: (H, W, 3), one row for each image: the ROIs, and the spatial
            attention from the high to the low level, all on one scale from 0 to 1. Dots
            are the object's parts, where the sample has ``object_parts``.
        """
        style = text_style([title, *(self._class_names() or ())])
        columns = 1 + len(attentions[0])
        size = (2.4 * columns, 2.6 * len(images) + 0.9)
        figure = Figure(figsize=size, dpi=110, layout='constrained')
        axes = figure.subplots(len(images), columns, squeeze=False)
        for row, image, sample, attention in zip(axes, images, data_samples, attentions):
            row[0].imshow(self.draw_rois(image, sample))
            # As many letters as fit over one picture, and over all.
            caption = as_lines(self._caption(sample), 32)
            row[0].set_title(caption, fontsize=8, **style)
            levels = range(len(attention) - 1, -1, -1)
            for axis, level in zip(row[1:], levels):
                mask = F.interpolate(
                    attention[level].float().cpu()[None, None],
                    image.shape[:2],
                    mode='bilinear',
                )
                axis.imshow(image)
                overlay = axis.imshow(mask[0, 0].numpy(), 'jet', vmin=0, vmax=1, alpha=0.5)
                axis.set_title(f'attention of level {level}', fontsize=8)
                if 'object_parts' in sample:
                    x, y = _parts_on_input(sample).T
                    axis.autoscale(False)  # a crop may leave some out
                    axis.scatter(x, y, s=9, c='white', edgecolors='black', linewidths=0.5)
        figure.colorbar(overlay, ax=axes, label='attention', fraction=0.03, aspect=40)
        for axis in axes.flat:
            axis.axis('off')
        names = [f'ROIs of level {level}' for level in levels]
        colours = [LEVEL_COLORS[level % len(LEVEL_COLORS)] for level in levels]
        lines = [Line2D([], [], color=colour) for colour in colours]
        outlines = {'merged box': MERGED_COLOR}
        if any('object_box' in sample for sample in data_samples):
            outlines["object's box"] = OBJECT_COLOR
        for name, colour in outlines.items():
            names.append(name)
            lines.append(Line2D([], [], color=colour, linestyle='--'))
        figure.legend(
            lines,
            names,
            loc='outside lower center',
            ncols=len(names),
            fontsize=8,
            facecolor='grey',
        )
        figure.suptitle(as_lines(as_text(title), 20 * columns), **style)
        canvas = FigureCanvasAgg(figure)
        with _no_glyph_warnings():
            canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def _caption(self, sample: DataSample) -> str:
        classes = self._class_names()
        label = int(sample.pred_score.argmax())
        name = as_text(classes[label]) if classes else label
        caption = f'{name} ({float(sample.pred_score[label]):.2f})'
        if 'gt_label' in sample and label not in sample.gt_label.tolist():
            caption += ' - wrong'
        return caption

    def _class_names(self) -> Optional[Sequence[str]]:
        return (self.dataset_meta or {}).get('classes')


def _parts_on_input(sample):
    """The object's parts in pixels of the network's input, (P, 2)."""
    points = torch.tensor(sample.object_parts).float().reshape(-1, 2)
    # A point is a box without extent.
    return to_input(points.repeat(1, 2), sample)[:, :2]


@contextmanager
def _no_glyph_warnings():
    """Without matplotlib's warning of each missing character: there is one for all."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Glyph')
        yield
