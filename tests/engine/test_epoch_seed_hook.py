"""Each epoch and each process has random numbers of its own, and a resumed run the same."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import worker_init_fn
from mmpretrain.registry import HOOKS


@pytest.fixture
def draw(monkeypatch):
    """What a process draws in an epoch, and what its workers are seeded with."""

    def draw_of(rank, epoch=3, seed=5, randomness=None, **options):
        monkeypatch.setattr('apcnn_mm.engine.epoch_seed_hook.get_rank', lambda: rank)
        loader = SimpleNamespace(sampler=SimpleNamespace(seed=0), **options)
        cfg = dict(randomness=randomness or {})
        runner = SimpleNamespace(seed=seed, epoch=epoch, train_dataloader=loader, cfg=cfg)
        torch.rand(epoch)  # whatever was drawn before
        HOOKS.build(dict(type='EpochSeedHook')).before_train_epoch(runner)
        workers = torch.rand(4, generator=loader.generator)
        return torch.rand(4), workers, loader.sampler.seed, loader

    return draw_of


def test_processes_draw_their_own_numbers(draw):
    """Dropblock and random ROIs, and what the workers do; the samples are shared out."""
    first, second = draw(0), draw(1)
    assert not torch.equal(first[0], second[0])
    assert not torch.equal(first[1], second[1])
    assert first[2] == second[2] == 5


def test_epochs_and_seeds_differ_and_repeat(draw):
    base = draw(1)
    for other in (draw(1, epoch=4), draw(1, seed=6)):
        assert not torch.equal(base[0], other[0]) and not torch.equal(base[1], other[1])
    again = draw(1)
    assert torch.equal(base[0], again[0]) and torch.equal(base[1], again[1])


def test_workers_with_a_function_of_their_own(draw):
    """The user's is called, mmengine's would seed each epoch's alike."""
    for function, kept in ((worker_init_fn, False), (print, True)):
        loader = draw(0, worker_init_fn=partial(function, seed=1))[3]
        assert (loader.worker_init_fn is not None) == kept


def test_samplers_with_seeds_of_their_own(draw):
    assert draw(1, randomness=dict(diff_rank_seed=True))[2] == 0
