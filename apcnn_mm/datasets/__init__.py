from apcnn_runtime.files import IMAGE_EXTENSIONS, find_files

from .aircraft import FGVCAircraftWithBoxes
from .cars import StanfordCarsWithBoxes
from .cub import CUBWithBoxes
from .folder import ClassFolders
from .loading import LoadImage
from .resize import AntialiasedResize
from .transforms import RemoveBottomRows

__all__ = [
    'IMAGE_EXTENSIONS',
    'AntialiasedResize',
    'CUBWithBoxes',
    'ClassFolders',
    'FGVCAircraftWithBoxes',
    'LoadImage',
    'RemoveBottomRows',
    'StanfordCarsWithBoxes',
    'find_files',
]
