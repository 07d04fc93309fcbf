"""Prediction with exported models, without PyTorch and OpenMMLab.

This package needs NumPy, Pillow and ONNX Runtime alone. ``apcnn_mm`` takes from it what
both have in common.
"""

import os

# Since 1.29, ONNX Runtime tells Microsoft which models are run, unless it finds this when
# it is imported (its Privacy.md).
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')

METADATA = 'apcnn_mm'  # the key of what an exported model tells about itself
