"""Settings that mmengine does not read: it passes over names that it does not know."""

import inspect
from difflib import get_close_matches

from mmengine.config import Config
from mmengine.runner import Runner

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
    'sync_bn',
    'tta_model',
    'vis_backends',
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
    runner = inspect.signature(Runner.__init__).parameters
    sentences = [
        *_misspelt('', variables, [*runner, *_TOP_LEVEL]),
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


def _misspelt(path, settings, known, cutoff=0.82):
    for name in settings or ():
        meant = () if name in known else get_close_matches(name, known, 1, cutoff)
        if meant:
            yield f'{path}{name} has no effect. Is {path}{meant[0]} meant?'
