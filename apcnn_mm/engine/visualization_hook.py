"""Pictures of predictions in the right colours."""

import os.path as osp

from mmpretrain.engine.hooks import VisualizationHook
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class RGBVisualizationHook(VisualizationHook):
    """mmpretrain's hook for images that a pipeline has loaded as BGR, as all do.

    With test-time augmentation it shows the first view. Pictures are named after their
    folder as well: own pictures have the same names in several classes.
    """

    def _draw_samples(self, batch_idx, data_batch, data_samples, step=0):
        images = data_batch['inputs']
        if images[0].ndim == 4:  # views of a batch
            images = images[0]
        # AP-CNN: the parent hands BGR to a visualizer that takes RGB
        # (open-mmlab/mmpretrain#1799), and names pictures after their files alone.
        images = [image.flip(0) for image in images]
        data_samples = [sample.clone() for sample in data_samples]
        for sample in data_samples:
            if 'img_path' in sample:
                folder, name = osp.split(sample.img_path)
                sample.set_metainfo(dict(img_path=f'{osp.basename(folder)}_{name}'))
        super()._draw_samples(batch_idx, dict(inputs=images), data_samples, step)
