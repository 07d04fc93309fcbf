from .aircraft import FGVCAircraftWithBoxes
from .cars import StanfordCarsWithBoxes
from .cub import CUBWithBoxes
from .folder import ClassFolders
from .transforms import RemoveBottomRows

__all__ = [
    'CUBWithBoxes',
    'ClassFolders',
    'FGVCAircraftWithBoxes',
    'RemoveBottomRows',
    'StanfordCarsWithBoxes',
]
