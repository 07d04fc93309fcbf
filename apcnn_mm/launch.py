"""What ``tools/train.py`` and ``tools/test.py`` share."""

import os
from typing import Optional

import torch
from mmengine.config import Config


def load_config(filename: str, cfg_options: Optional[dict] = None) -> Config:
    """Read a config with the ``data_root`` of ``--cfg-options``.

    mmengine merges options into a config that has been evaluated already, where the
    variable ``data_root`` has been copied to every split. The configs therefore read it
    from the environment variable ``APCNN_DATA_ROOT``, where this puts it.

    Args:
        filename (str): The config file.
        cfg_options (dict, optional): The options of the command line.

    Returns:
        Config: The config. The options are not merged yet.
    """
    if not os.path.isfile(filename):
        raise FileNotFoundError(f'There is no config file {os.path.abspath(filename)}.')
    data_root = (cfg_options or {}).get('data_root')
    if data_root is not None:
        os.environ['APCNN_DATA_ROOT'] = os.path.expanduser(data_root)
    return Config.fromfile(filename)


def set_dataloader_defaults(cfg: Config, **defaults):
    """Fill in what the data loaders of a config do not say.

    Args:
        cfg (Config): The complete config, changed in place.
        **defaults: Values for all data loaders.
    """
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader is None:
            continue
        for key, value in defaults.items():
            loader.setdefault(key, value)
        if loader.get('num_workers', 0) == 0:
            loader.persistent_workers = False  # there are none; PyTorch would refuse


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
