from .class_check_hook import ClassCheckHook
from .epoch_seed_hook import EpochSeedHook
from .roi_visualization_hook import ROIVisualizationHook
from .visualization_hook import RGBVisualizationHook

__all__ = [
    'ClassCheckHook',
    'EpochSeedHook',
    'RGBVisualizationHook',
    'ROIVisualizationHook',
]
