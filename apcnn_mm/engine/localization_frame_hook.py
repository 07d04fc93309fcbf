"""The frame of reference of the localization."""

from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ..evaluation import ObjectLocalization
from .wrappers import unwrapped


@HOOKS.register_module()
class LocalizationFrameHook(Hook):
    """Before a test, hand the model's ROI generator to :class:`ObjectLocalization`.

    The metric then reports what random and perfect attention would score with the same
    settings. A metric that has a ``roi_generator`` of its own keeps it.
    """

    def before_test(self, runner):
        """Hand over the generator of a model that has one."""
        model = unwrapped(runner.model)
        for metric in runner.test_evaluator.metrics:
            if isinstance(metric, ObjectLocalization) and metric.roi_generator is None:
                metric.roi_generator = getattr(model, 'roi_generator', None)
