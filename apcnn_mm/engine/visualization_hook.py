"""Pictures of predictions in the right colours."""

from mmpretrain.engine.hooks import VisualizationHook
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class RGBVisualizationHook(VisualizationHook):
    """mmpretrain's hook for images that a pipeline has loaded as BGR, as all do."""

    def _draw_samples(self, batch_idx, data_batch, data_samples, step=0):
        # AP-CNN: the parent hands BGR to a visualizer that takes RGB
        # (open-mmlab/mmpretrain#1799).
        images = [image.flip(0) for image in data_batch['inputs']]
        super()._draw_samples(batch_idx, dict(inputs=images), data_samples, step)
