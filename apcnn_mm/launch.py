"""What the scripts in ``tools/`` share: their arguments, and how a config is read."""

import argparse
import os
import re
from datetime import timedelta
from typing import List, Optional

import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS
from torch.distributed import rendezvous

from .misspelt import check_options

# Settings that are paths, by the last part of their names. ClassFolders has its pictures
# in the folder `split`; `data_prefix` may have parts of its own.
_PATH = re.compile(
    r'(.*\.)?([^.]*_)?(root|dir|file|path|folder|prefix|uri)(\.[^.]+)?'
    r'|(.*\.)?(filename|checkpoint|pretrained|load_from|resume_from|split)'
)


class OptionsAction(DictAction):
    """mmengine's ``--cfg-options``, where paths arrive as they are typed.

    :class:`DictAction` drops white space and quotes, splits at commas and turns digits
    into numbers. Here this is done to settings that are no paths. ``None`` stays None.
    """

    def __call__(self, parser, namespace, values, option_string=None):
        """Add the options to those that the namespace has."""
        namespace.typed_options = [*getattr(namespace, 'typed_options', []), *values]
        paths, others = {}, []
        for option in values:
            key, equals, value = option.partition('=')
            if not equals:
                parser.error(
                    f'{option_string}: {option!r} is not of the form KEY=VALUE. A value '
                    'with white space needs quotes: KEY="my value"'
                )
            if _is_path(key, value):
                paths[key] = value
            else:
                others.append(option)
        try:
            super().__call__(parser, namespace, others, option_string)
        except AssertionError as error:  # brackets
            parser.error(f'{option_string}: {error}')
        getattr(namespace, self.dest).update(paths)


def _is_path(key, value):
    if key.endswith('classes'):  # names, or a file with them
        return os.path.isfile(os.path.expanduser(value))
    if key.endswith('pretrained') and value.lower() in ('true', 'false'):
        return False
    return value != 'None' and _PATH.fullmatch(key) is not None


def add_arguments(parser: argparse.ArgumentParser, checkpoint: bool = False):
    """Add the arguments that scripts share: ``config`` and ``--cfg-options``.

    Args:
        parser (ArgumentParser): The parser of a script.
        checkpoint (bool): Whether there is the argument ``checkpoint``, too: a file or
            an address. Defaults to False.
    """
    parser.add_argument('config', type=_config_file, help='config file path')
    if checkpoint:
        parser.add_argument('checkpoint', type=_existing_file, help='checkpoint file')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        default={},
        metavar='KEY=VALUE',
        help='override settings of the config, such as data_root=/path or '
        'model.test_cfg.stage=raw. Paths are taken as typed. Lists and tuples: '
        'key="[a,b]" or key="(a,b)"',
    )


def add_taxonomy_arguments(parser: argparse.ArgumentParser):
    """Add ``--taxonomy`` and ``--confidence``, for :class:`APCNNInferencer`.

    Args:
        parser (ArgumentParser): The parser of a script.
    """
    parser.add_argument(
        '--taxonomy', help='a CSV file with the classes and the names above them'
    )
    parser.add_argument(
        '--confidence',
        type=float,
        help='the probability that the deepest name must reach. Defaults to 0.8',
    )


def typed_options(args: argparse.Namespace) -> List[str]:
    """The options of a command line as they were typed, for another command.

    Args:
        args (Namespace): What a parser with :func:`add_arguments` has made of it.

    Returns:
        list[str]: ``--cfg-options`` and what follows; nothing without it.
    """
    options = getattr(args, 'typed_options', [])
    return ['--cfg-options', *options] if options else []


def _existing_file(path):
    if os.path.isdir(path):
        raise argparse.ArgumentTypeError(f'{os.path.abspath(path)} is a folder, not a file')
    if '://' not in path and not os.path.isfile(path):
        raise argparse.ArgumentTypeError(f'there is no file {os.path.abspath(path)}')
    return path


def _config_file(path):
    if not path.endswith(('.py', '.json', '.yml', '.yaml')):
        raise argparse.ArgumentTypeError(
            f'{path} is no config, which ends in .py, .json, .yml or .yaml'
        )
    return _existing_file(path)


def load_config(filename: str, options: Optional[dict] = None) -> Config:
    """Read a config with the options of the command line, and work in its scope.

    Options are those of mmengine, with two differences. The variable ``data_root`` has
    been copied to every data set when mmengine merges options; here all of these copies
    get the new value. And data loaders without workers lose what is only for workers,
    which PyTorch would refuse.

    Where ``model.head.num_classes`` is None, it becomes the number of classes of the
    training data.

    Args:
        filename (str): The config file.
        options (dict, optional): The options. Defaults to None.

    Returns:
        Config: The config.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a ``data_root`` is given to a config that has no such variable, if
            another option would have no effect, see :func:`check_options`, or if the
            classes of the training data are to be counted and cannot be.
    """
    if not os.path.isfile(filename):
        raise FileNotFoundError(f'There is no config file {os.path.abspath(filename)}.')
    cfg = Config.fromfile(filename)
    options = options or {}
    check_options(cfg, options)
    if 'data_root' in options:
        if 'data_root' not in cfg:
            raise ValueError(
                f'{os.path.abspath(filename)} has no variable data_root. Set the '
                'data_root of each data set, such as --cfg-options '
                'train_dataloader.dataset.data_root=/path'
            )
        _replace(cfg._cfg_dict, 'data_root', cfg.data_root, options['data_root'])
    cfg.merge_from_dict(options)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    for loader in _dataloaders(cfg):
        if loader.get('num_workers', 0) == 0:
            loader.persistent_workers = False
            for key in ('prefetch_factor', 'timeout', 'multiprocessing_context'):
                loader.pop(key, None)
    head = cfg.get('model', {}).get('head') or {}
    if 'num_classes' in head and head.num_classes is None:
        head.num_classes = _count_classes(cfg)
    return cfg


def _count_classes(cfg):
    """The number of classes of the training data, whose pictures are not looked for."""
    try:
        dataset = DATASETS.build({**cfg.train_dataloader.dataset, 'lazy_init': True})
    except (OSError, ValueError) as error:
        raise ValueError(
            f'{error}\n(The number of classes is that of the training data, because the '
            'config has model.head.num_classes=None. To do without the data, use the '
            'config that the training left in its work directory, or give the number: '
            '--cfg-options model.head.num_classes=N)'
        ) from error
    return len(dataset.metainfo['classes'])


def _replace(node, key, old, new):
    """Replace a value wherever it stands under this key."""
    if isinstance(node, (list, tuple)):
        for item in node:
            _replace(item, key, old, new)
    elif isinstance(node, ConfigDict):
        if node.get(key) == old:
            node[key] = new
        for item in node.values():
            _replace(item, key, old, new)


def set_dataloader_defaults(cfg: Config, **defaults):
    """Fill in what the data loaders of a config do not say.

    Args:
        cfg (Config): The config, changed in place.
        **defaults: Values for all data loaders.
    """
    for loader in _dataloaders(cfg):
        for key, value in defaults.items():
            loader.setdefault(key, value)


def set_in_dataloaders(cfg: Config, **values):
    """Set values in all data loaders of a config.

    Args:
        cfg (Config): The config, changed in place.
        **values: Values for all data loaders.
    """
    for loader in _dataloaders(cfg):
        loader.update(values)


def _dataloaders(cfg):
    loaders = (cfg.get(f'{split}_dataloader') for split in ('train', 'val', 'test'))
    return [loader for loader in loaders if loader is not None]


def init_distributed_on_cpu(cfg: Config):
    """Let several processes train or test without a GPU.

    mmengine's launcher asks each process for its GPU, and places the model on it.

    Args:
        cfg (Config): The complete config, changed in place.
    """
    if cfg.launcher != 'pytorch' or torch.cuda.is_available():
        return
    torch.distributed.init_process_group('gloo')
    cfg.setdefault(
        'model_wrapper_cfg',
        dict(type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None),
    )


class Team:
    """The processes of one command, of which each one works alone on its share.

    There is no process group: in one, mmengine draws and logs in the first process alone,
    and processes may not wait for each other for hours.

    Args:
        launcher (str): 'pytorch' for processes of torchrun, 'none' for a single one.

    Attributes:
        rank (int): The number of this process.
        world_size (int): How many processes there are.
        device (str, optional): Its GPU where each process has its own, otherwise None.
    """

    def __init__(self, launcher: str):
        self.rank, self.world_size, self.device = 0, 1, None
        if launcher == 'pytorch':
            self._store, self.rank, self.world_size = next(rendezvous('env://'))
            if torch.cuda.is_available():
                gpu = int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()
                self.device = f'cuda:{gpu}'

    def meet(self, name: str, number: int = 0) -> int:
        """Wait until all processes are here.

        Args:
            name (str): What they have done.
            number (int): A number of this process. Defaults to 0.

        Returns:
            int: The sum of the numbers of all processes.
        """
        if self.world_size == 1:
            return number
        self._store.add(name, number)
        self._store.set(f'{name}/{self.rank}', '')
        everyone = [f'{name}/{rank}' for rank in range(self.world_size)]
        self._store.wait(everyone, timedelta(days=7))
        return self._store.add(name, 0)
