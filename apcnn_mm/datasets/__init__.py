from apcnn_runtime.files import IMAGE_EXTENSIONS, find_files

from .aircraft import FGVCAircraftWithBoxes
from .cars import StanfordCarsWithBoxes
from .cub import CUBWithBoxes
from .folder import ClassFolders
from .loading import LoadImage
from .original import KeepOriginal
from .resize import AntialiasedResize
from .strangers import Strangers
from .transforms import RemoveBottomRows

__all__ = [
    'IMAGE_EXTENSIONS',
    'AntialiasedResize',
    'CUBWithBoxes',
    'ClassFolders',
    'FGVCAircraftWithBoxes',
    'KeepOriginal',
    'LoadImage',
    'RemoveBottomRows',
    'StanfordCarsWithBoxes',
    'Strangers',
    'find_files',
]
