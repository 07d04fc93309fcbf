from .aircraft import FGVCAircraftWithBoxes
from .cars import StanfordCarsWithBoxes
from .cub import CUBWithBoxes
from .folder import IMAGE_EXTENSIONS, ClassFolders
from .transforms import RemoveBottomRows

__all__ = [
    'IMAGE_EXTENSIONS',
    'CUBWithBoxes',
    'ClassFolders',
    'FGVCAircraftWithBoxes',
    'RemoveBottomRows',
    'StanfordCarsWithBoxes',
]
