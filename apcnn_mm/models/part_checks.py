"""Whether the parts of a model go together: checks of :class:`APCNN`, before it is used."""

from typing import Any

from torch import nn

from ..arguments import check_config
from .apcnn_head import APCNNHead
from .attention_fpn import AttentionFPN
from .backbone_split import out_indices
from .stages import BOTH
from .timm_backbone import feature_info

_OTHERS = dict(
    train_cfg=(dict,),
    data_preprocessor=(dict, nn.Module),
    pretrained=(str,),
    init_cfg=(dict, list),
)


def check_configs(backbone: Any, neck: Any, head: Any, **others: Any):
    """Check the types of what a model is to be built from.

    Args:
        backbone (Any): A config or a module, and so are the next two.
        neck (Any): See ``backbone``.
        head (Any): See ``backbone``.
        **others (Any): Arguments of mmpretrain's :class:`ImageClassifier`.

    Raises:
        TypeError: If one is of another type.
    """
    for name, part in (('backbone', backbone), ('neck', neck), ('head', head)):
        if not isinstance(part, nn.Module):
            check_config(f'model.{name}', part)
    for name, kinds in _OTHERS.items():
        value = others.get(name)
        if not isinstance(value, (*kinds, type(None))):
            wanted = ' or '.join(kind.__name__ for kind in kinds)
            raise TypeError(f'model.{name} must be a {wanted}, not {value!r}.')


def check_parts(model: nn.Module):
    """Check that the parts of a model fit each other.

    Args:
        model (APCNN): The model, with its parts.

    Raises:
        TypeError: If a part is something else.
        ValueError: If their levels, channels or strides differ, or if the second stage
            would have no ROIs.
    """
    neck, head, roi_generator = model.neck, model.head, model.roi_generator
    for name, part, kind in (('neck', neck, AttentionFPN), ('head', head, APCNNHead)):
        if not isinstance(part, kind):
            raise TypeError(
                f'model.{name} must be an {kind.__name__}, not {type(part).__name__}.'
            )
    if model.stages == BOTH and neck.spatial is None:
        raise ValueError(
            "stages='both' needs spatial attention to find ROIs: set "
            "neck.spatial to 'gate' or 'pathway', or stages='raw'."
        )
    if not out_indices(model.backbone):
        raise TypeError(
            'model.backbone must be a backbone with several outputs (out_indices), '
            f'not {type(model.backbone).__name__}.'
        )
    levels = {'neck.in_channels': len(neck.in_channels), 'head.num_levels': head.num_levels}
    if roi_generator is not None:
        levels['roi_generator.strides'] = len(roi_generator.strides)
    if len(set(levels.values())) > 1:
        raise ValueError(f'The numbers of pyramid levels differ: {levels}.')
    if neck.out_channels != head.in_channels:
        raise ValueError(
            f'neck.out_channels={neck.out_channels} and '
            f'head.in_channels={head.in_channels} must be the same.'
        )
    info = feature_info(model.backbone)
    if info:
        told = {'neck.in_channels': (neck.in_channels, info.channels)}
        if roi_generator is not None:
            told['roi_generator.strides'] = (roi_generator.strides, info.strides)
        for name, (given, right) in told.items():
            if tuple(given) != right:
                raise ValueError(
                    f'model.{name}={tuple(given)}, but the outputs of the backbone '
                    f'have {right}. Leave it out.'
                )


def check_second_look(model: nn.Module):
    """Check that a model can look at the original pictures, ``refine_at='original'``.

    Args:
        model (APCNN): The model, with its parts.

    Raises:
        ValueError: If nothing would be seen again, or if the inputs are mixed.
    """
    if not model.head.zoom_in:
        raise ValueError(
            "refine_at='original' needs head.zoom_in=True: without zoom-in there is "
            "nothing to see again. Use refine_at='input'."
        )
    if getattr(model.data_preprocessor, 'batch_augments', None) is not None:
        raise ValueError(
            "data_preprocessor.batch_augments mixes inputs, but refine_at='original' "
            'would see the second time each picture alone. Leave them out.'
        )
