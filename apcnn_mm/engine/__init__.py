from .checkpoint_hook import AtomicBackend, ResumableCheckpointHook
from .data_check_hook import DataCheckHook
from .epoch_seed_hook import EpochSeedHook
from .finite_hook import FiniteHook
from .localization_frame_hook import LocalizationFrameHook
from .roi_visualization_hook import ROIVisualizationHook
from .visualization_hook import RGBVisualizationHook

__all__ = [
    'AtomicBackend',
    'DataCheckHook',
    'EpochSeedHook',
    'FiniteHook',
    'LocalizationFrameHook',
    'RGBVisualizationHook',
    'ROIVisualizationHook',
    'ResumableCheckpointHook',
]
