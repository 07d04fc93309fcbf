"""Export a model to a file that runs without PyTorch or without this package.

    python tools/deployment/export.py CONFIG CHECKPOINT --out model.onnx

The file is compared with the model before it appears. It tells about itself in its
metadata, as JSON under the name apcnn_mm; docs/deployment.md has the inputs and outputs.
"""

import argparse
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))  # tools

import _script  # noqa: E402, F401

from apcnn_mm.apis import APCNNInferencer  # noqa: E402
from apcnn_mm.apis.export import check_versions, export  # noqa: E402
from apcnn_mm.apis.export_formats import FORMATS  # noqa: E402
from apcnn_mm.launch import (  # noqa: E402
    add_arguments,
    add_taxonomy_arguments,
    load_config,
)
from apcnn_runtime.files import check_writable  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, checkpoint=True)
    add_taxonomy_arguments(parser)
    parser.add_argument('--out', required=True, help='the file to write')
    parser.add_argument(
        '--format', choices=FORMATS, default='onnx', help='(default: %(default)s)'
    )
    parser.add_argument(
        '--no-preprocess',
        action='store_true',
        help='take normalised images, float32 (N, 3, H, W), in place of pictures, uint8 '
        'RGB (N, H, W, 3)',
    )
    args = parser.parse_args()
    if osp.isdir(args.out):
        parser.error(f'--out must be a file, but {osp.abspath(args.out)} is a folder')
    try:
        check_versions(args.format)
        check_writable(args.out)
    except (ImportError, RuntimeError, OSError) as error:
        parser.error(str(error))
    return args


def read_pipeline(transforms):
    """How pictures are made ready, for apcnn_runtime.

    Args:
        transforms (Sequence[dict]): The test pipeline.

    Returns:
        dict: ``resize``, (width, height), and ``crop``, (height, width), of the middle; and
        ``original_size``, the longest side of what is resized, where the originals of the
        pictures are kept.

    Raises:
        ValueError: If it does something else.
    """
    loading, *others = transforms
    if loading.get('color_type', 'color') != 'color':
        raise ValueError('Only pictures that are loaded in colour can be exported.')
    steps, kept = {}, {}
    if others and others[0]['type'] == 'KeepOriginal':
        kept = dict(original_size=others[0]['max_size'])
        others[:1] = others[0]['transforms']
    for transform in others:
        kind = transform['type']
        if kind == 'AntialiasedResize' and not steps:
            scale = transform['scale']
            steps['resize'] = [scale, scale] if isinstance(scale, int) else list(scale)
        elif kind == 'CenterCrop' and 'resize' in steps and 'crop' not in steps:
            size = transform['crop_size']
            size = [size, size] if isinstance(size, int) else list(size)
            width, height = steps['resize']
            steps['crop'] = [min(size[0], height), min(size[1], width)]
        elif kind != 'PackInputs':
            raise ValueError(
                f'{kind} in the test pipeline cannot be exported, nor can another order '
                'than AntialiasedResize, CenterCrop, PackInputs behind the loading, '
                'the first two perhaps in KeepOriginal.'
            )
    if 'resize' not in steps:
        raise ValueError('The test pipeline has no AntialiasedResize to one size.')
    steps.setdefault('crop', steps['resize'][::-1])
    return {**steps, **kept}


def main():
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    try:
        steps = read_pipeline(cfg.test_dataloader.dataset.pipeline)
        inferencer = APCNNInferencer(
            *(cfg, args.checkpoint, 'cpu'),
            taxonomy=args.taxonomy,
            confidence=args.confidence,
        )
        model = inferencer.model
        preprocessor = model.data_preprocessor
        metadata = dict(classes=inferencer.classes, **steps)
        if preprocessor._enable_normalize:
            metadata['mean'] = preprocessor.mean.flatten().tolist()
            metadata['std'] = preprocessor.std.flatten().tolist()
        names = inferencer.taxonomy
        if names is not None:
            metadata['taxonomy'] = dict(
                ranks=names.ranks,
                lineages=names.lineages,
                confidence=inferencer.confidence,
            )
        metadata['channels'] = 'RGB' if preprocessor.to_rgb else 'BGR'
        export(
            *(model, args.out, steps['crop'], args.format),
            preprocess=not args.no_preprocess,
            metadata=metadata,
        )
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(str(error))
    print(
        f'{osp.abspath(args.out)}: {osp.getsize(args.out) / 1e6:.1f} MB, the same as the '
        'model on random pictures in batches of 1, 3 and 17 at two sizes.'
    )


if __name__ == '__main__':
    main()
