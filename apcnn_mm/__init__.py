"""AP-CNN, fine-grained image classification as a plugin of mmpretrain.

Importing this package registers everything in it.
"""

from .requirements import check_requirements

check_requirements()

from . import (  # noqa: E402
    checkpoints,
    datasets,
    engine,
    evaluation,
    models,
    visualization,
)
from .model_zoo import register_models  # noqa: E402

register_models()

__version__ = '0.1.0'
__all__ = [
    'checkpoints',
    'datasets',
    'engine',
    'evaluation',
    'models',
    'visualization',
]
