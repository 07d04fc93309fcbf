from .alexnet import PyramidAlexNet
from .apcnn import APCNN
from .apcnn_head import APCNNHead
from .attention_fpn import AttentionFPN, AttentionPyramid
from .calibrator import Calibrator
from .plain_classifier import PlainClassifier
from .roi_pyramid import ROIPyramid, ROIPyramidGenerator
from .tta import APCNNTTAModel

__all__ = [
    'APCNN',
    'APCNNHead',
    'APCNNTTAModel',
    'AttentionFPN',
    'AttentionPyramid',
    'Calibrator',
    'PlainClassifier',
    'PyramidAlexNet',
    'ROIPyramid',
    'ROIPyramidGenerator',
]
