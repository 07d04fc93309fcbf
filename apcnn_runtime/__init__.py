"""Prediction with exported models, without PyTorch and OpenMMLab.

This package needs NumPy, Pillow and ONNX Runtime alone. ``apcnn_mm`` takes from it what
both have in common.
"""

METADATA = 'apcnn_mm'  # the key of what an exported model tells about itself
