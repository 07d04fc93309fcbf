from .images import list_images
from .inferencer import APCNNInferencer

__all__ = ['APCNNInferencer', 'list_images']
