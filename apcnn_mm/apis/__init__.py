from .inferencer import APCNNInferencer

__all__ = ['APCNNInferencer']
