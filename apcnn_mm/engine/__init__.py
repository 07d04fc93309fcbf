from .class_check_hook import ClassCheckHook
from .epoch_seed_hook import EpochSeedHook

__all__ = ['ClassCheckHook', 'EpochSeedHook']
