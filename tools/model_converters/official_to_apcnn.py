"""Convert a state dict of AP-CNN's released ResNet code.

    python tools/model_converters/official_to_apcnn.py model_best.pth apcnn_r50_cub.pth \\
        --class-order cub

The released training script sorts its class folders as strings, so the classes of its
checkpoints are not in the data set's own order: 190 of the 200 of CUB-200-2011 and 195
of the 196 of Stanford Cars are elsewhere. ``--class-order`` reorders the last layers.
"""

import argparse
import os.path as osp
import re
import sys

import torch

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
sys.path.insert(0, osp.join(ROOT, 'tools'))

import _script  # noqa: E402, F401
from mmengine.config import Config  # noqa: E402
from mmpretrain.registry import MODELS  # noqa: E402

from apcnn_mm.checkpoints import load_file  # noqa: E402
from apcnn_runtime.files import check_writable  # noqa: E402

# The pyramid levels of the released code are called 3, 4 and 5.
RENAMES = [
    (r'(conv1|bn1|layer\d)\.', r'backbone.\1.'),
    (r'fpn\.P5_1\.conv_master\.', 'neck.lateral_convs.2.local_conv.'),
    (r'fpn\.P5_1\.conv_gpb\.', 'neck.lateral_convs.2.global_conv.'),
    (r'fpn\.P([345])_1\.', 'neck.lateral_convs.{level}.conv.'),
    (r'fpn\.P([345])_2\.', 'neck.fpn_convs.{level}.conv.'),
    (r'apn\.A([345])_1\.conv\.', 'neck.spatial_gates.{level}.deconv.'),
    (r'apn\.A([345])_2\.conv([12])\.', r'neck.channel_gates.{level}.fc\2.'),
    (r'cls([345])\.2\.', 'head.level_classifiers.{level}.hidden.0.'),
    (r'cls([345])\.3\.', 'head.level_classifiers.{level}.hidden.1.'),
    (r'cls([345])\.4\.', 'head.level_classifiers.{level}.hidden.2.'),
    (r'cls([345])\.6\.', 'head.level_classifiers.{level}.fc.'),
    (r'cls_concate\.1\.', 'head.concat_classifier.hidden.0.'),
    (r'cls_concate\.2\.', 'head.concat_classifier.hidden.1.'),
    (r'cls_concate\.3\.', 'head.concat_classifier.hidden.2.'),
    (r'cls_concate\.5\.', 'head.concat_classifier.fc.'),
]
# How the released scripts name the folder of a class, numbered from 1.
FOLDER_NAMES = {'cub': '{:02d}', 'cars': '{}'}
# Residual blocks of layer1 to layer4, and whether they are bottlenecks.
DEPTHS = {
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
}


def load_official(path):
    """The state dict in a file of the released code, tensors only."""
    state_dict = load_file(path, map_location='cpu')
    if not (
        isinstance(state_dict, dict)
        and state_dict
        and all(isinstance(value, torch.Tensor) for value in state_dict.values())
    ):
        raise ValueError(
            f'{osp.abspath(path)} is not a state dict, from names to tensors, as the '
            'released train.py saves it: torch.save(net.state_dict(), ...).'
        )
    return {name.removeprefix('module.'): value for name, value in state_dict.items()}


def rename(name):
    """Our name of a parameter, None for an unknown one."""
    for pattern, replacement in RENAMES:
        match = re.match(pattern, name)
        if match:
            level = int(match[1]) - 3 if '{level}' in replacement else None
            return match.expand(replacement).format(level=level) + name[match.end() :]
    return None


def build_target(state_dict):
    """AP-CNN with the depth and the widths of a released state dict."""

    def blocks(layer):
        numbers = [re.match(rf'layer{layer}\.(\d+)\.', name) for name in state_dict]
        return len({match[1] for match in numbers if match})

    key = (tuple(map(blocks, (1, 2, 3, 4))), 'layer1.0.conv3.weight' in state_dict)
    last = state_dict.get('cls_concate.5.weight')
    if key not in DEPTHS or last is None or last.dim() != 2:
        raise ValueError(
            'This is no state dict of the released ResNet code: '
            f'layer1 to layer4 with {key[0]} blocks, '
            f'{"with" if last is not None else "no"} cls_concate.5.weight. Its names '
            f'start with {", ".join(list(state_dict)[:5])}. (The released VGG-19 is '
            'another model, which this package does not have.)'
        )
    cfg = Config.fromfile(osp.join(ROOT, 'configs/_base_/models/apcnn_r50.py')).model
    cfg.backbone.update(depth=DEPTHS[key], init_cfg=None)
    expansion = 4 if key[1] else 1
    cfg.neck.in_channels = [expansion * width for width in (128, 256, 512)]
    cfg.head.update(num_classes=last.size(0), hidden_channels=last.size(1))
    return MODELS.build(cfg)


def convert(state_dict):
    """Convert a released state dict to ours.

    Args:
        state_dict (dict[str, Tensor]): Of the released ResNet code.

    Returns:
        dict[str, Tensor]: With exactly the names and shapes of :class:`APCNN`.

    Raises:
        ValueError: If a name or shape does not fit, in either direction.
    """
    target = build_target(state_dict).state_dict()
    converted = {rename(name) or name: value for name, value in state_dict.items()}
    for name, value in target.items():
        # PyTorch before 0.4.1 did not count the batches; nothing is calibrated.
        if name.endswith('num_batches_tracked') or name.startswith('head.calibrator.'):
            converted.setdefault(name, value)
    problems = [f'unknown: {name}' for name in state_dict if rename(name) not in target]
    problems += [f'missing: {name}' for name in target if name not in converted]
    problems += [
        f'shape: {name} is {tuple(converted[name].shape)}, expected {tuple(value.shape)}'
        for name, value in target.items()
        if name in converted and converted[name].shape != value.shape
    ]
    if problems:
        raise ValueError(
            'The state dict does not fit AP-CNN with this ResNet:\n    '
            + '\n    '.join(problems)
        )
    return converted


def reorder_classes(state_dict, dataset):
    """Put the classes of the last layers into the data set's own order.

    Args:
        state_dict (dict[str, Tensor]): A converted state dict. Not changed.
        dataset (str): 'cub' or 'cars'.

    Returns:
        dict[str, Tensor]: The same with other last layers.
    """
    num_classes = len(state_dict['head.concat_classifier.fc.bias'])
    folders = [FOLDER_NAMES[dataset].format(i + 1) for i in range(num_classes)]
    released_label = {folder: label for label, folder in enumerate(sorted(folders))}
    index = torch.tensor([released_label[folder] for folder in folders])
    return {
        name: value[index] if re.match(r'head\..*\.fc\.', name) else value
        for name, value in state_dict.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('src', help='the state dict that the released train.py saved')
    parser.add_argument('dst', help='the checkpoint to write')
    parser.add_argument(
        '--class-order',
        choices=sorted(FOLDER_NAMES),
        help='reorder the classes from string-sorted folders to the order of this data '
        'set. Defaults to leaving them as they are',
    )
    args = parser.parse_args()
    try:
        check_writable(args.dst)
        converted = convert(load_official(args.src))
    except (OSError, ValueError) as error:
        sys.exit(f'{parser.prog}: {error}')
    if args.class_order:
        converted = reorder_classes(converted, args.class_order)
    torch.save(dict(state_dict=converted, meta={}), args.dst)
    print(f'Converted {len(converted)} tensors: {osp.abspath(args.dst)}')


if __name__ == '__main__':
    main()
