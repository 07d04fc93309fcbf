"""Make an epoch's randomness a function of seed, epoch and process (rank) alone."""

import numpy as np
import torch
from mmengine.dataset import worker_init_fn
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import set_random_seed
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Seed anew at each epoch, so that a resumed run continues as if unbroken.

    A checkpoint does not hold the state of the random number generators, and mmengine
    seeds the workers of each epoch alike. In a distributed run each process has numbers of
    its own. Workers that live on across epochs (``persistent_workers=True``), those with a
    ``worker_init_fn`` of the user's own, and loops by iterations (``by_epoch=False``),
    whose only epoch begins where they do, are not seeded anew.
    """

    def before_train_epoch(self, runner):
        """Seed this process and the workers that the epoch will start."""
        seed = runner.seed
        # Each process draws its own dropblock and random ROIs. The weights are drawn before
        # training, alike in all of them.
        epoch_seed = _mix(seed, runner.epoch, get_rank())
        set_random_seed(epoch_seed)
        loader = runner.train_dataloader
        # Without a function of mmengine's, workers are seeded by this generator.
        init_fn = getattr(loader, 'worker_init_fn', None)
        if getattr(init_fn, 'func', None) is worker_init_fn:
            loader.worker_init_fn = None
        loader.generator = torch.Generator()
        loader.generator.manual_seed(epoch_seed)
        # A run without a given seed takes it from the checkpoint when it is resumed,
        # but the sampler has been built before.
        diff_rank_seed = runner.cfg.get('randomness', {}).get('diff_rank_seed')
        # There is no sampler in mmpretrain's vis_scheduler.py, which trains on no data.
        if hasattr(loader, 'sampler') and not diff_rank_seed:
            loader.sampler.seed = seed


def _mix(*numbers):
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
