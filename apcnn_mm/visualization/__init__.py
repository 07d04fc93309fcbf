from .roi_visualizer import ROIVisualizer
from .spatial_attention import predict_with_attention

__all__ = ['ROIVisualizer', 'predict_with_attention']
