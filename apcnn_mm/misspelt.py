"""Settings that mmengine does not read: it passes over names that it does not know."""

import inspect
import logging
from difflib import get_close_matches
from typing import Iterable

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmpretrain.registry import OPTIMIZERS

# Besides the arguments of the Runner. Other names are variables of the config.
_TOP_LEVEL = (
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'data_root',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
)
# Other names are hooks of one's own.
_HOOKS = (
    'checkpoint',
    'data_check',
    'epoch_seed',
    'finite',
    'logger',
    'param_scheduler',
    'roi_visualization',
    'runtime_info',
    'sampler_seed',
    'timer',
    'visualization',
)
# What else mmengine reads name by name. There are no others.
_CLOSED = {
    'auto_scale_lr': ('base_batch_size', 'enable'),
    'env_cfg': ('cudnn_benchmark', 'dist_cfg', 'mp_cfg', 'resource_limit'),
    'env_cfg.mp_cfg': ('mp_start_method', 'opencv_num_threads'),
    'optim_wrapper.paramwise_cfg': (
        'base_lr',
        'bias_decay_mult',
        'bias_lr_mult',
        'bypass_duplicate',
        'custom_keys',
        'dcn_offset_lr_mult',
        'dwconv_decay_mult',
        'flat_decay_mult',
        'norm_decay_mult',
    ),
}


def find_misspelt(cfg: Config) -> list:
    """Find settings without effect that look like ones with an effect.

    Args:
        cfg (Config): The config.

    Returns:
        list[str]: One sentence for each.
    """
    # There are pipelines of all names.
    variables = [name for name in cfg if not name.endswith('pipeline')]
    sentences = [
        *_misspelt('', variables, [*_read_names(), 'vis_backends']),
        *_misspelt('default_hooks.', cfg.get('default_hooks'), _HOOKS),
    ]
    for path, known in _CLOSED.items():
        *parents, name = path.split('.')
        node = cfg
        for parent in parents:
            node = node.get(parent) or {}
        # Another constructor of parameter groups has names of its own.
        if 'constructor' not in node:
            sentences += _misspelt(f'{path}.', node.get(name), known, cutoff=0.0)
    if cfg.get('auto_scale_lr') and 'base_batch_size' not in cfg.auto_scale_lr:
        sentences.append(
            'auto_scale_lr has no base_batch_size, the batch size that the learning rate '
            'was chosen for, and has no effect.'
        )
    return sentences


def check_options(cfg: Config, options: Iterable[str]):
    """Refuse options that would change nothing but a variable of the config.

    When options are merged, the variables of a config have been copied to where they are
    used.

    Args:
        cfg (Config): The config as its file has it.
        options (Iterable[str]): The names of the options, such as 'train_cfg.max_epochs'.

    Raises:
        ValueError: If there is a copy of such a variable or, instead of a setting that is
            not there, one of this name elsewhere.
    """
    read = set(_read_names())
    for option in options:
        name, dot, rest = option.partition('.')
        if name in read:
            continue
        places = [
            f'{path}{dot}{rest}'
            for path, key, value in _walk({key: cfg[key] for key in cfg if key in read})
            if (key == name or (isinstance(value, (dict, list)) and value))
            and (value == cfg[name] if name in cfg else key == name)
        ]
        if places and not all(place in options for place in places):
            what = 'a variable of the config, which has copies' if name in cfg else ''
            raise ValueError(
                f'--cfg-options {option} has no effect: {name} is '
                f'{what or "no setting of its own"}. Set {" and ".join(places)}.'
            )
        if name in cfg:
            print_log(
                f'--cfg-options {option} has no effect, unless code of your own reads it: '
                f'{name} is a variable of the config, and its value has been used.',
                'current',
                logging.WARNING,
            )


def check_optimizer(cfg: Config):
    """Refuse an optimizer that is not there; mmengine would say that None is not callable.

    Args:
        cfg (Config): The config.

    Raises:
        ValueError: If there is none of this name.
    """
    kind = ((cfg.get('optim_wrapper') or {}).get('optimizer') or {}).get('type')
    if isinstance(kind, str) and OPTIMIZERS.get(kind) is None:
        names = [*OPTIMIZERS.module_dict, *OPTIMIZERS.parent.module_dict]
        meant = [f' Is {name} meant?' for name in get_close_matches(kind, names, 1)]
        raise ValueError(
            f'optim_wrapper.optimizer.type={kind!r} is no optimizer.{"".join(meant)}'
        )


def _read_names():
    """The names at the top of a config that are read."""
    return [*inspect.signature(Runner.__init__).parameters, *_TOP_LEVEL]


def _walk(node, prefix=''):
    """The path, the name and the value of each setting in a config."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield f'{prefix}{key}', key, value
        if isinstance(value, (dict, list, tuple)):
            yield from _walk(value, f'{prefix}{key}.')


def _misspelt(path, settings, known, cutoff=0.82):
    for name in settings or ():
        meant = () if name in known else get_close_matches(name, known, 1, cutoff)
        if meant:
            yield f'{path}{name} has no effect. Is {path}{meant[0]} meant?'
