"""Show during training what the model looks at."""

import numpy as np
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmpretrain.registry import HOOKS

from ..arguments import check_number
from ..visualization import ROIVisualizer, predict_with_attention
from .wrappers import unwrapped


@HOOKS.register_module()
class ROIVisualizationHook(Hook):
    """Hand a figure of ROIs and spatial attention to the visualizer.

    A model that finds no ROIs has none, and only :class:`ROIVisualizer` can draw it. A
    figure that cannot be drawn or saved does not end the training.

    Args:
        interval (int): Every so many epochs. Defaults to 10.
        num_images (int): Images of the validation data in the figure, spread over it.
            Defaults to 4.
    """

    # A picture is not worth a checkpoint: that one is saved first.
    priority = 'LOWEST'

    def __init__(self, interval: int = 10, num_images: int = 4):
        check_number('ROIVisualizationHook.interval', interval, minimum=1, integer=True)
        check_number('ROIVisualizationHook.num_images', num_images, minimum=1, integer=True)
        self.interval = interval
        self.num_images = num_images

    @master_only
    def after_train_epoch(self, runner):
        """Draw the figure and restore the model's mode."""
        model = unwrapped(runner.model)
        finds_rois = getattr(model, 'roi_generator', None) and model.neck.spatial
        can_draw = isinstance(runner.visualizer, ROIVisualizer)
        if not finds_rois or not can_draw or runner.val_loop is None:
            return
        if not self.every_n_epochs(runner, self.interval):
            return
        try:
            self._draw(runner, model)
        except Exception as error:  # nor is it worth a training
            MMLogger.get_current_instance().warning(
                f'The figure of epoch {runner.epoch + 1} could not be drawn: '
                f'{type(error).__name__}: {error}'
            )
        finally:
            model.train()

    def _draw(self, runner, model):
        dataset = runner.val_dataloader.dataset
        indices = np.linspace(0, len(dataset) - 1, self.num_images).round().astype(int)
        data = [dataset[int(i)] for i in np.unique(indices)]
        figure = runner.visualizer.draw_figure(*predict_with_attention(model, data))
        runner.visualizer.add_image('rois', figure, step=runner.epoch + 1)
