"""Parameters and multiply-adds of a model by part (Table 6 of the paper).

    python tools/analysis/get_complexity.py configs/apcnn_r50_cub.py

Multiply-adds are those of convolutions and linear layers.
"""

import argparse
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))  # tools

import _script  # noqa: E402, F401
import torch  # noqa: E402
from mmpretrain.registry import MODELS  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from apcnn_mm.launch import add_arguments, load_config  # noqa: E402

# Parts of the model by the beginning of their names; the first that fits counts.
PARTS = {
    'backbone': 'backbone',
    'neck.spatial_gates': 'gates',
    'neck.channel_gates': 'gates',
    'neck': 'neck',
    'head': 'heads',
}


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(448, 448),
        metavar=('HEIGHT', 'WIDTH'),
        help='of the input',
    )
    return parser.parse_args()


def part_of(name):
    """The part of the model that a parameter or layer belongs to."""
    return next(part for prefix, part in PARTS.items() if name.startswith(prefix))


def count_parameters(model):
    """The number of parameters of each part."""
    counts = {}
    for name, parameter in model.named_parameters():
        counts[part_of(name)] = counts.get(part_of(name), 0) + parameter.numel()
    return counts


def count_multiply_adds(model, shape):
    """The multiply-adds of each part for one image.

    Args:
        model (ImageClassifier): The model.
        shape (Sequence[int]): Height and width of the image.

    Returns:
        dict[str, int]: From the part to its multiply-adds.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.rand(1, 3, *shape), mode='tensor')
    root = type(model).__name__ + '.'
    counted = {
        name.removeprefix(root): sum(operations.values())
        for name, operations in counter.get_flop_counts().items()
    }
    counts = {}
    for name in counted.keys() & dict(model.named_modules()).keys():
        # Of a layer that uses the weights of those in it without calling them, itself.
        if not any(other.startswith(f'{name}.') for other in counted):
            counts[part_of(name)] = counts.get(part_of(name), 0) + counted[name] // 2
    return counts


def main():
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    if getattr(model, 'test_stage', None) == 'cascade':
        model.test_stage = 'both'  # how many images are refined depends on them
    parameters = count_parameters(model)
    multiply_adds = count_multiply_adds(model, args.shape)
    total = sum(multiply_adds.values())
    refined = 0
    if getattr(model, 'test_stage', 'raw') != 'raw':
        # The refined stage runs the same parts again.
        model.test_stage = 'raw'
        multiply_adds = count_multiply_adds(model, args.shape)
        refined = total - sum(multiply_adds.values())
    print(f'{args.config} at {args.shape[0]} x {args.shape[1]}')
    row = '{:15}{:>12}{:>16}'.format
    print(row('', 'parameters', 'multiply-adds'))
    for part in parameters:
        macs = multiply_adds.get(part, 0) / 1e9
        print(row(part, f'{parameters[part] / 1e6:.3f} M', f'{macs:.3f} G'))
    if refined:
        print(row('refined stage', 'shared', f'{refined / 1e9:.3f} G'))
    print(row('total', f'{sum(parameters.values()) / 1e6:.3f} M', f'{total / 1e9:.3f} G'))


if __name__ == '__main__':
    main()
