"""Draw what AP-CNN looked at into mmpretrain's pictures of predictions."""

import numpy as np
from mmpretrain.registry import VISUALIZERS
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer

# Figure 5: red, blue and green from the high to the low pyramid level.
LEVEL_COLORS = ('red', 'blue', 'lime')


@VISUALIZERS.register_module()
class ROIVisualizer(UniversalVisualizer):
    """mmpretrain's visualizer with the ROI pyramid of AP-CNN's predictions.

    It works wherever a config names mmpretrain's: in its hook, ``tools/test.py
    --show-dir`` and notebooks.
    """

    def visualize_cls(self, image: np.ndarray, data_sample: DataSample, **kwargs):
        """Draw the prediction and, where the sample has them, its ROIs.

        Args:
            image (np.ndarray): (H, W, 3), the input of the network, whose pixels the
                ROIs are given in.
            data_sample (DataSample): The prediction.
            **kwargs: Arguments of :meth:`UniversalVisualizer.visualize_cls`.

        Returns:
            np.ndarray: The picture.
        """
        if 'rois' in data_sample:
            image = self.draw_rois(image, data_sample)
        return super().visualize_cls(image, data_sample, **kwargs)

    def draw_rois(self, image: np.ndarray, data_sample: DataSample) -> np.ndarray:
        """Draw the ROIs in the colour of their level, and the merged box in white.

        Args:
            image (np.ndarray): (H, W, 3), the input of the network.
            data_sample (DataSample): A prediction with ROIs.

        Returns:
            np.ndarray: (H, W, 3).
        """
        self.set_image(image)
        top = int(data_sample.roi_levels.max()) if len(data_sample.rois) else 0
        for box, level in zip(data_sample.rois, data_sample.roi_levels):
            colour = LEVEL_COLORS[(top - int(level)) % len(LEVEL_COLORS)]
            self.draw_bboxes(box, edge_colors=colour, line_widths=1.5)
        self.draw_bboxes(
            data_sample.merged_box, edge_colors='white', line_styles='--', line_widths=1.5
        )
        return self.get_image()
