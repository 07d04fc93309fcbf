"""Stop a training that has lost its numbers."""

import math
import os.path as osp

import torch
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from .wrappers import unwrapped


@HOOKS.register_module()
class FiniteHook(Hook):
    """Stop at the first loss or weight that is not finite, and save no such weights.

    From there on a model predicts nothing, but its training would go on, and its
    checkpoints would take the place of good ones. mmdet's ``CheckInvalidLossHook`` does not
    look at the weights, which a last step can spoil after a finite loss.
    """

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Look at the losses.

        Raises:
            ValueError: If one is not finite.
        """
        if outputs is None:
            return
        # As mmengine's RuntimeInfoHook has just read them: reading the tensors again would
        # make the CPU wait once more for a GPU.
        scalars = runner.message_hub.log_scalars
        if not math.isfinite(scalars['train/loss'].current()):
            losses = ', '.join(
                f'{name} is {scalars[f"train/{name}"].current()}' for name in outputs
            )
            raise ValueError(f'Iteration {runner.iter + 1}: {losses}. {_way_out(runner)}')

    def before_save_checkpoint(self, runner, checkpoint):
        """Look at the weights.

        Raises:
            ValueError: If one is not finite.
        """
        model = unwrapped(runner.model)
        weights = {name for name, _ in model.named_parameters()}
        for name, value in checkpoint['state_dict'].items():
            if name in weights and not torch.isfinite(value).all():
                raise ValueError(
                    f'After iteration {runner.iter}: {name} is not finite. '
                    + _way_out(runner)
                )


def _way_out(runner):
    return (
        f'The training ends here; the checkpoints in {osp.abspath(runner.work_dir)} are '
        'from before. A smaller learning rate (optim_wrapper.optimizer.lr), clipped '
        'gradients (optim_wrapper.clip_grad) or training without --amp may help.'
    )
