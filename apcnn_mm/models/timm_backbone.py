"""The backbones of timm, as mmpretrain's ``TIMMBackbone`` has them with ``features_only``.

What timm tells of its nets is enough for any of them: what they give out, which modules
they run one after another, and how their weights are called.
"""

from functools import partial
from typing import List, NamedTuple, Optional, Tuple

import torch.nn as nn
from mmpretrain.models.backbones import TIMMBackbone
from mmpretrain.registry import MODELS
from torch.nn.modules.batchnorm import _BatchNorm

_PREFIX = 'timm_model.'


class FeatureInfo(NamedTuple):
    """What a backbone gives out, from low to high.

    Attributes:
        out_indices (Tuple[int]): The numbers of its outputs.
        channels (Tuple[int]): C_k of each.
        strides (Tuple[int]): The stride of each, in input pixels.
    """

    out_indices: Tuple[int, ...]
    channels: Tuple[int, ...]
    strides: Tuple[int, ...]


class NormEvalTIMMBackbone(TIMMBackbone):
    """A ``TIMMBackbone`` that can keep its statistics, as mmpretrain's own backbones can.

    Args:
        *args: Those of ``TIMMBackbone``.
        norm_eval (bool): Whether batch normalisation keeps its running statistics in
            training, and normalises by them. Its weights are trained nevertheless.
            Defaults to False.
        **kwargs: Those of ``TIMMBackbone``.
    """

    def __init__(self, *args, norm_eval: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.norm_eval = norm_eval

    def train(self, mode: bool = True):
        """Set the mode of all modules but, with ``norm_eval``, of batch normalisation."""
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def build_backbone(config: dict) -> nn.Module:
    """Build a backbone. One of timm also takes weights under timm's own names.

    Args:
        config (dict): Any backbone. A ``TIMMBackbone`` needs ``model_name``,
            ``features_only=True`` and ``out_indices``; the checkpoint of its
            ``init_cfg=dict(type='Pretrained', checkpoint=...)`` is a file of timm's, or
            ``timm://`` and the name of a model with its tag. It also takes
            ``norm_eval``, see :class:`NormEvalTIMMBackbone`.

    Raises:
        ValueError: If a backbone of timm would give out no pyramid, or not have the
            weights that were asked for.
    """
    kind = config['type']
    if (MODELS.get(kind) if isinstance(kind, str) else kind) is not TIMMBackbone:
        return MODELS.build(config)
    name = config.get('model_name')
    if config.get('features_only') is not True:
        raise ValueError(
            f'TIMMBackbone gives out the last features of {name} only. Set '
            'model.backbone.features_only=True and model.backbone.out_indices.'
        )
    if config.get('checkpoint_path'):
        raise ValueError(
            "model.backbone.checkpoint_path is for timm's whole models. Set "
            "model.backbone.init_cfg=dict(type='Pretrained', checkpoint=...)."
        )
    if config.get('pretrained') and config.get('init_cfg'):
        raise ValueError(
            'model.backbone.init_cfg would be ignored beside '
            'model.backbone.pretrained=True. Leave out one of them.'
        )
    try:
        backbone = MODELS.build({**config, 'type': NormEvalTIMMBackbone})
    except (IndexError, AssertionError) as error:
        raise ValueError(
            f'model.backbone.out_indices={config.get("out_indices")} are not all outputs '
            f'of {name} ({error}). timm.create_model({name!r}, features_only=True)'
            '.feature_info.get_dicts() lists them.'
        ) from error
    shapes = {key: x.shape for key, x in backbone.timm_model.state_dict().items()}
    backbone._register_load_state_dict_pre_hook(partial(_rename, name, shapes))
    return backbone


def feature_info(backbone: nn.Module) -> Optional[FeatureInfo]:
    """What a backbone of timm gives out. None for others, and for one with one output."""
    info = getattr(getattr(backbone, 'timm_model', None), 'feature_info', None)
    if not hasattr(info, 'out_indices'):
        return None
    indices = sorted(range(len(info))[i] for i in info.out_indices)  # -1 is the last
    return FeatureInfo(
        tuple(indices), tuple(info.channels(indices)), tuple(info.reduction(indices))
    )


def gives_channels_last(backbone: nn.Module) -> bool:
    """Whether it is one of timm whose features are (N, h, w, C), such as Swin's."""
    net = getattr(backbone, 'timm_model', None)
    return getattr(net, 'output_fmt', None) == 'NHWC'


def list_modules(
    backbone: TIMMBackbone,
) -> Optional[List[Tuple[str, nn.Module, Optional[int]]]]:
    """The modules that a net of timm runs one after another.

    Returns:
        list[tuple] | None: The name of each, the module, and the number of its output, or
        None where it is not given out. None for a net that is no row of modules.
    """
    from timm.models import FeatureListNet
    from timm.models.efficientnet import EfficientNetFeatures
    from timm.models.mobilenetv3 import MobileNetV3Features

    net = backbone.timm_model
    if isinstance(net, FeatureListNet):
        count = len(net.feature_info)
        out = {name: range(count)[int(i)] for name, i in net.return_layers.items()}
        return [(name, module, out.get(name)) for name, module in net.items()]
    if isinstance(net, (EfficientNetFeatures, MobileNetV3Features)):
        if net.feature_hooks is not None:
            return None
        stem = [module for name, module in net.named_children() if name != 'blocks']
        out = {info['stage']: info['index'] for info in net.feature_info.info}
        rows = [('stem', nn.Sequential(*stem)), *net.blocks.named_children()]
        return [
            (name if i == 0 else f'blocks_{name}', module, out.get(i))
            for i, (name, module) in enumerate(rows)
        ]
    return None


def _rename(model_name, shapes, state_dict, prefix, *_):
    """Give weights under timm's names those that they have in the backbone.

    Raises:
        ValueError: If the backbone would not get all of its weights.
    """
    keys = [key for key in state_dict if key.startswith(prefix)]
    if not keys or any(key.startswith(prefix + _PREFIX) for key in keys):
        return
    for key in keys:
        name = key[len(prefix) :]
        # Sequences are taken apart, or the net lies in a wrapper.
        for own in (name, name.replace('.', '_', 1), f'body.{name}', f'model.{name}'):
            if own in shapes:
                state_dict[prefix + _PREFIX + own] = state_dict.pop(key)
                break
    lacking = [
        name
        for name, shape in shapes.items()
        if getattr(state_dict.get(prefix + _PREFIX + name), 'shape', None) != shape
        and not name.endswith('num_batches_tracked')  # which old files have not
    ]
    if lacking:
        raise ValueError(
            f'The weights are not those of model.backbone.model_name={model_name!r}: '
            f'{len(lacking)} of {len(shapes)} are missing or have another shape, such as '
            f'{lacking[0]}. They begin with {keys[0]}.'
        )
