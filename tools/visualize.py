"""Draw the ROI pyramid and the spatial attention of test images (Figures 1 and 5).

    python tools/visualize.py CONFIG CHECKPOINT --per-class 3 --out DIR

One figure for each class of the test data, or one for the images that are given.
"""

import argparse
import os.path as osp
import sys

import _script  # noqa: F401
import mmcv
from mmpretrain.registry import DATASETS, VISUALIZERS

from apcnn_mm.apis import APCNNInferencer
from apcnn_mm.launch import add_arguments, load_config
from apcnn_mm.visualization import predict_with_attention
from apcnn_mm.visualization.names import as_text
from apcnn_runtime.files import check_writable_folder


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, checkpoint=True)
    parser.add_argument('--out', required=True, help='the dir to save the figures')
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--images', nargs='+', help='these images, in one figure')
    what.add_argument(
        '--classes',
        nargs='+',
        help='names (or parts of names) of classes of the test data. Defaults to all',
    )
    parser.add_argument('--per-class', type=int, default=3, help='test images a class')
    parser.add_argument('--device', help='such as cuda:1 or cpu')
    args = parser.parse_args()
    if args.per_class < 1:
        parser.error('--per-class must be at least 1')
    for image in args.images or []:
        if not osp.isfile(image):
            parser.error(f'there is no image {osp.abspath(image)}')
    try:
        check_writable_folder(args.out)
    except OSError as error:
        parser.error(f'--out: {error}')
    return args


def choose_samples(dataset, wanted, per_class):
    """Indices of the first test images of each class.

    Args:
        dataset (BaseDataset): The test data.
        wanted (list[str] | None): Names or parts of names. None for all classes.
        per_class (int): Images a class.

    Returns:
        dict[str, list[int]]: From the name of a class to its images.
    """
    names = dataset.metainfo['classes']
    for part in wanted or []:
        if not any(part in name for name in names):
            raise ValueError(f'No class has {part!r} in its name: {", ".join(names)}.')
    chosen = {}
    for index, label in enumerate(dataset.get_gt_labels()):
        name = names[label]
        if wanted is None or any(part in name for part in wanted):
            chosen.setdefault(name, []).append(index)
    return {name: indices[:per_class] for name, indices in chosen.items()}


def main():
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    inferencer = APCNNInferencer(cfg, args.checkpoint, device=args.device)
    if args.images:
        try:
            figures = {'images': [inferencer.load(image) for image in args.images]}
        except (OSError, ValueError) as error:  # no image
            sys.exit(str(error))
    else:
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        chosen = choose_samples(dataset, args.classes, args.per_class)
        figures = {name: [dataset[i] for i in indices] for name, indices in chosen.items()}

    visualizer = VISUALIZERS.build(dict(type='ROIVisualizer', name='visualize'))
    visualizer.dataset_meta = dict(classes=inferencer.classes)
    for name, data in figures.items():
        figure = visualizer.draw_figure(
            *predict_with_attention(inferencer.model, data), title=name
        )
        path = osp.join(osp.abspath(args.out), f'{name.replace("/", "_")}.png')
        mmcv.imwrite(figure[..., ::-1], path)
        print(as_text(path))


if __name__ == '__main__':
    main()
