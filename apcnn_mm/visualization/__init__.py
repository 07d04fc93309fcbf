from .roi_visualizer import ROIVisualizer

__all__ = ['ROIVisualizer']
