"""Prediction with exported models, without PyTorch and OpenMMLab.

This package needs NumPy, Pillow and ONNX Runtime alone. ``apcnn_mm`` takes from it what
both have in common.
"""

# In an exported model: the key of what it tells about itself, and a cascade's threshold.
METADATA = 'apcnn_mm'
THRESHOLD = 'threshold'
