"""What the scripts in ``tools/`` share."""

import os
from typing import Optional

import torch
from mmengine.config import Config, ConfigDict


def load_config(filename: str, cfg_options: Optional[dict] = None) -> Config:
    """Read a config and, from ``--cfg-options``, the ``data_root`` of its data sets.

    mmengine merges options into a config that has been evaluated already, where the
    variable ``data_root`` has been copied to every data set. Here all of these copies
    get the new value.

    Args:
        filename (str): The config file.
        cfg_options (dict, optional): The options of the command line.

    Returns:
        Config: The config. The other options are not merged yet.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a ``data_root`` is given to a config that has no such variable.
    """
    if not os.path.isfile(filename):
        raise FileNotFoundError(f'There is no config file {os.path.abspath(filename)}.')
    cfg = Config.fromfile(filename)
    new_root = (cfg_options or {}).get('data_root')
    if new_root is not None:
        if 'data_root' not in cfg:
            raise ValueError(
                f'{os.path.abspath(filename)} has no variable data_root. Set the '
                'data_root of each data set, such as --cfg-options '
                'train_dataloader.dataset.data_root=/path'
            )
        _replace(cfg._cfg_dict, 'data_root', cfg.data_root, new_root)
    return cfg


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


def merge_options(cfg: Config, cfg_options: dict):
    """Merge ``--cfg-options``, which have the last word.

    Args:
        cfg (Config): The config, changed in place.
        cfg_options (dict): The options of the command line.
    """
    cfg.merge_from_dict(cfg_options)
    for loader in _dataloaders(cfg):
        if loader.get('num_workers', 0) == 0:
            loader.persistent_workers = False  # there are none; PyTorch would refuse


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
