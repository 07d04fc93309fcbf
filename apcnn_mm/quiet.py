"""Silence for messages of the stack below that a user need not worry about.

Only messages with these texts are silenced, and only where they come after the import of
this package.
"""

import re
import warnings
from importlib import import_module

# The beginnings of warnings.
WARNINGS = (
    # Data loaders on a machine without a GPU, where there is no need to pin memory.
    "'pin_memory' argument is set as true but no accelerator is found",
    # mmcv on VGG with batch normalisation: ImageNet weights have these biases.
    'Unnecessary conv bias before batch/instance norm',
    # PyTorch on a machine with fewer cores than a config has workers: they take turns.
    'This DataLoader will create',
    # torchvision without its image readers: mmcv reads the images here.
    'Failed to load image Python extension',
)
# PyTorch 2.4 about an optimizer that mmengine imports and nobody uses here. It shows
# this warning whatever the filters say.
UNFILTERED = '`TorchScript` support for functional optimizers is deprecated'
# The beginnings of what mmengine and mmpretrain log.
LOGGED = (
    # The onedl forks without the data sets of a service.
    'Could not import OneDL',
    # mmengine's checkpoint hook about mmengine's file client.
    '"FileClient" will be deprecated in future',
    '"HardDiskBackend" is the alias of "LocalBackend"',
    # mmengine about each of hundreds of parameters whose learning rate is another one.
    'paramwise_options -- ',
)


def silence():
    """Silence these messages from now on."""
    for text in WARNINGS:
        warnings.filterwarnings('ignore', message=re.escape(text))
    with warnings.catch_warnings(record=True) as caught:
        import_module('torch.distributed.optim')
    for warning in caught:
        if not str(warning.message).startswith(UNFILTERED):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )

    logging = import_module('mmengine.logging')
    print_log = logging.print_log

    def print_others(msg, *args, **kwargs):
        if not str(msg).startswith(LOGGED):
            print_log(msg, *args, **kwargs)

    # Where mmpretrain takes it from, and where mmengine has taken it already.
    logging.print_log = print_others
    for name in ('fileio.file_client', 'optim.optimizer.default_constructor'):
        import_module(f'mmengine.{name}').print_log = print_others
