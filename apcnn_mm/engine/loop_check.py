"""Do the batches and the counting of a training lead anywhere?"""

from typing import List

from mmengine.dataset import InfiniteSampler
from mmengine.hooks import CheckpointHook
from mmengine.runner import IterBasedTrainLoop
from torch.utils.data import DataLoader

from ..models import APCNN
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
    if not isinstance(loader, DataLoader):
        return  # mmpretrain's vis_scheduler.py trains on no data
    images, batch = len(loader.sampler), loader.batch_size
    if len(loader) == 0:
        raise ValueError(
            f'{describe(loader.dataset)} has {len(loader.dataset)} images, which '
            f'do not fill a batch of {batch} (for each device). Set --cfg-options '
            'train_dataloader.batch_size to a smaller number, at least 2.'
        )
    model = unwrapped(model)
    last = images % batch or batch
    if isinstance(loader.sampler, InfiniteSampler):
        last = batch
    if last == 1 and not loader.drop_last and isinstance(model, APCNN):
        if model.train().normalises_over_the_batch():
            raise ValueError(
                f'The last batch of an epoch would be a single image: {images} images in '
                f'batches of {batch}. AP-CNN cannot normalise globally pooled features '
                'over it. Set --cfg-options train_dataloader.drop_last=True or another '
                'train_dataloader.batch_size, at least 2.'
            )


def check_loop(runner):
    """Where a training counts iterations, nothing may wait for the end of an epoch.

    Args:
        runner (Runner): A runner that is about to train.

    Raises:
        ValueError: If a checkpoint would never be saved, or a schedule never be followed.
    """
    if not isinstance(runner.train_loop, IterBasedTrainLoop):
        return
    waiting = []
    for hook in runner._hooks:
        if isinstance(hook, CheckpointHook) and hook.by_epoch:
            interval = runner.train_loop.val_interval
            waiting.append(
                'default_hooks.checkpoint.by_epoch=False '
                f'default_hooks.checkpoint.interval={interval}'
            )
    entries = runner.cfg.get('param_scheduler') or []
    one = isinstance(entries, dict)
    for i, entry in enumerate([entries] if one else entries):
        if entry.get('by_epoch', True):
            place = 'param_scheduler' if one else f'param_scheduler.{i}'
            waiting.append(f'{place}.by_epoch=False {place}.convert_to_iter_based=False')
    if waiting:
        raise ValueError(
            'train_cfg.by_epoch=False: the training has no epochs, which some settings '
            'count: no checkpoint would be saved, or the learning rate would follow no '
            f'schedule. Set --cfg-options {" ".join(waiting)}'
        )


def is_finished(loop) -> bool:
    """Whether a training loop, such as that of a resumed run, has nothing left to do."""
    if isinstance(loop, IterBasedTrainLoop):
        return loop.iter >= loop.max_iters
    return loop.epoch >= loop.max_epochs


def unmatched_keys(runner) -> List[str]:
    """The keys of ``paramwise_cfg.custom_keys`` that are in no parameter's name.

    Args:
        runner (Runner): The runner.
    """
    settings = runner.cfg.get('optim_wrapper') or {}
    keys = (settings.get('paramwise_cfg') or {}).get('custom_keys') or {}
    names = [name for name, _ in unwrapped(runner.model).named_parameters()]
    return [key for key in keys if not any(key in name for name in names)]


def describe(dataset) -> str:
    """A data set in words, for errors."""
    return f'{type(dataset).__name__} in {getattr(dataset, "data_root", "memory")}'
