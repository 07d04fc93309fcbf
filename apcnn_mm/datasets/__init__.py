from .cub import CUBWithBoxes
from .folder import ClassFolders

__all__ = ['CUBWithBoxes', 'ClassFolders']
