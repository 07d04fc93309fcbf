"""Pictures of predictions in the right colours."""

import inspect
import os.path as osp
from typing import Optional

from mmengine.logging import MMLogger
from mmpretrain.engine.hooks import VisualizationHook
from mmpretrain.registry import HOOKS
from mmpretrain.visualization import UniversalVisualizer

from ..arguments import check_choice, check_number, check_type


@HOOKS.register_module()
class RGBVisualizationHook(VisualizationHook):
    """mmpretrain's hook for images that a pipeline has loaded as BGR, as all do.

    With test-time augmentation it shows the first view. Pictures are named after their
    folder as well: own pictures have the same names in several classes. Where that is not
    enough, more folders are in the name. A picture that cannot be drawn or saved does
    not end a training.

    Args:
        enable (bool): Whether to draw. Defaults to False.
        interval (int): Every so many samples. Defaults to 5000.
        show (bool): Whether to show the pictures in a window. Defaults to False.
        out_dir (str, optional): Where to save them. Defaults to None: the visualizer's
            backends get them.
        **kwargs: Other arguments of :meth:`UniversalVisualizer.visualize_cls`.
    """

    def __init__(
        self,
        enable: bool = False,
        interval: int = 5000,
        show: bool = False,
        out_dir: Optional[str] = None,
        **kwargs,
    ):
        check_choice('RGBVisualizationHook.enable', enable, (True, False))
        check_choice('RGBVisualizationHook.show', show, (True, False))
        check_number('RGBVisualizationHook.interval', interval, minimum=1, integer=True)
        check_type('RGBVisualizationHook.out_dir', out_dir, str, type(None))
        known = inspect.signature(UniversalVisualizer.visualize_cls).parameters
        if unknown := sorted(kwargs.keys() - known):
            raise TypeError(
                f'RGBVisualizationHook has no {", ".join(unknown)}. Beside its own '
                f'arguments it takes {", ".join(list(known)[3:])}.'
            )
        super().__init__(enable, interval, show, out_dir, **kwargs)
        self._paths = {}  # of the names that are taken

    def after_val_iter(self, runner, *args, **kwargs):
        """Draw samples of a batch during a training."""
        try:
            super().after_val_iter(runner, *args, **kwargs)
        except Exception as error:  # a picture is not worth a training
            MMLogger.get_current_instance().warning(
                f'A picture could not be drawn: {type(error).__name__}: {error}'
            )

    def _draw_samples(self, batch_idx, data_batch, data_samples, step=0):
        size = len(data_samples)
        if not self.enable or -size * batch_idx % self.interval >= size:
            return  # none of this batch is drawn
        images = data_batch['inputs']
        if isinstance(images[0], (list, tuple)) or images[0].ndim == 4:  # views of a batch
            images = images[0]
        # AP-CNN: the parent hands BGR to a visualizer that takes RGB
        # (open-mmlab/mmpretrain#1799), and names pictures after their files alone.
        images = [image.flip(0) for image in images]
        data_samples = [sample.clone() for sample in data_samples]
        for sample in data_samples:
            if 'img_path' in sample:
                sample.set_metainfo(dict(img_path=self._name(sample.img_path)))
        super()._draw_samples(batch_idx, dict(inputs=images), data_samples, step)

    def _name(self, path):
        """The file's name behind those of as many folders as set it apart."""
        folder, name = osp.split(path)
        while True:
            folder, last = osp.split(folder)
            name = f'{last}_{name}'
            if not last or self._paths.setdefault(name, path) == path:
                return name
