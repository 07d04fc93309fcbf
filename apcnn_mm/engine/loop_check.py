"""Do the batches and the counting of a training lead anywhere?"""

import math
from typing import List

from mmengine.dataset import InfiniteSampler
from mmengine.hooks import CheckpointHook
from mmengine.runner import IterBasedTrainLoop
from torch.utils.data import DataLoader

from ..models import APCNN
from .resume_check import flat_list
from .wrappers import unwrapped


def check_batches(loader, model):
    """Each epoch must have batches, and none of them a single image.

    Args:
        loader (DataLoader): Of the training, in this process.
        model (nn.Module): The model.

    Raises:
        ValueError: If there is no batch, in which case mmengine trains nothing in silence
            or fails to convert a schedule, or if an AP-CNN would end an epoch with a batch
            that it cannot normalise over.
    """
    # mmpretrain's vis_scheduler.py trains on no data. Batches are made by a sampler of the
    # user's own, or from images without an end.
    if not isinstance(loader, DataLoader) or loader.batch_size is None:
        return
    if isinstance(loader.sampler, InfiniteSampler):
        return
    images, batch = len(loader.sampler), loader.batch_size
    if len(loader) == 0:
        raise ValueError(
            f'{describe(loader.dataset)} has {len(loader.dataset)} images, which '
            f'do not fill a batch of {batch} (for each device). Give more images, or set '
            f'--cfg-options train_dataloader.batch_size={max(2, images)}'
        )
    model = unwrapped(model)
    last = images % batch or batch
    if last == 1 and not loader.drop_last and isinstance(model, APCNN):
        if model.train().normalises_over_the_batch():
            raise ValueError(
                f'The last batch of an epoch would be a single image: {images} images in '
                f'batches of {batch} (for each device). AP-CNN cannot normalise globally '
                'pooled features over it. Set --cfg-options '
                'train_dataloader.drop_last=True or another train_dataloader.batch_size, '
                'at least 2.'
            )


def check_loop(runner):
    """Nothing may wait for the end of an epoch that never comes.

    Args:
        runner (Runner): A runner that is about to train.

    Raises:
        ValueError: If an epoch would have no end or, in a training that counts iterations,
            checkpoints or schedules count epochs.
    """
    if not isinstance(runner.train_loop, IterBasedTrainLoop):
        if isinstance(getattr(runner.train_dataloader, 'sampler', None), InfiniteSampler):
            raise ValueError(
                'train_dataloader.sampler is an InfiniteSampler, with which an epoch has '
                'no end. Set --cfg-options train_dataloader.sampler.type=DefaultSampler, '
                'or train by iterations (IterBasedTrainLoop).'
            )
        return
    hooks = [hook for hook in runner._hooks if isinstance(hook, CheckpointHook)]
    if any(hook.by_epoch and hook.interval > 0 for hook in hooks):
        raise ValueError(
            'train_cfg.by_epoch=False: the whole training is one epoch, but checkpoints '
            'are saved by epochs, so that there would be one, at the end. Set '
            '--cfg-options default_hooks.checkpoint.by_epoch=False '
            f'default_hooks.checkpoint.interval={runner.train_loop.val_interval}'
        )
    settings = runner.cfg.get('param_scheduler') or []
    settings = [settings] if isinstance(settings, dict) else settings
    converted = any(
        isinstance(entry, dict) and entry.get('convert_to_iter_based') for entry in settings
    )
    # A schedule by a metric is followed at each validation.
    by_epoch = any(
        scheduler.by_epoch and not getattr(scheduler, 'need_val_args', False)
        for scheduler in flat_list(runner.param_schedulers)
    )
    if by_epoch or converted:
        raise ValueError(
            'train_cfg.by_epoch=False: the whole training is one epoch, but a '
            'param_scheduler counts epochs. Give each of them by_epoch=False, without '
            'convert_to_iter_based, and begin, end, T_max and milestones in iterations.'
        )


def unmatched_keys(runner) -> List[str]:
    """The keys of ``paramwise_cfg.custom_keys`` that are in no parameter's name.

    Args:
        runner (Runner): The runner.
    """
    settings = runner.cfg.get('optim_wrapper') or {}
    keys = (settings.get('paramwise_cfg') or {}).get('custom_keys') or {}
    names = [f'.{name}' for name, _ in unwrapped(runner.model).named_parameters()]
    return [key for key in keys if not any(key in name for name in names)]


def check_finished(runner):
    """Log that a run, such as a resumed one, has nothing left to do.

    Args:
        runner (Runner): A runner that is about to train.
    """
    loop = runner.train_loop
    unit = 'iter' if isinstance(loop, IterBasedTrainLoop) else 'epoch'
    # Loops of the user's own may count otherwise.
    if getattr(loop, unit) >= getattr(loop, f'max_{unit}s', math.inf):
        runner.logger.warning(
            'This run is finished, and nothing is left to train. To go on, give more: '
            f'--cfg-options train_cfg.max_{unit}s=N'
        )


def describe(dataset) -> str:
    """A data set in words, for errors."""
    name = type(dataset).__name__
    while not hasattr(dataset, 'data_root') and hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    return f'{name} in {getattr(dataset, "data_root", "memory")}'
