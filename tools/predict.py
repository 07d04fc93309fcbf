"""Predict images: one JSON line each, with the ROIs in pixels of the original image.

    python tools/predict.py IMAGE|DIR|LIST CONFIG CHECKPOINT --out results.jsonl

DIR is searched for images with all its subfolders; LIST is a text file in UTF-8 with one
path a line. Boxes are (x1, y1, x2, y2) in pixels of an image of the line's width and
height, which is turned as the EXIF orientation of the file says.

Lines are written as they come, so a run that was stopped goes on where it was. What they
were made with is in ``results.jsonl.settings.json``. The exit status is 0 when at least
one image was predicted.
"""

import argparse
import hashlib
import os
import os.path as osp
import sys

import _script  # noqa: F401
from mmengine.utils import ProgressBar

from apcnn_mm.apis import APCNNInferencer, list_images
from apcnn_mm.arguments import check_number
from apcnn_mm.launch import add_arguments, load_config
from apcnn_runtime import predictions
from apcnn_runtime.files import IMAGE_EXTENSIONS


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('input', help='an image, a folder, or a text file with paths')
    add_arguments(parser, checkpoint=True)
    predictions.add_arguments(parser)
    parser.add_argument('--pictures', help='the dir to save pictures with ROIs')
    parser.add_argument(
        '--taxonomy', help='a CSV file with the classes and the names above them'
    )
    parser.add_argument(
        '--confidence',
        type=float,
        help='the probability that the deepest name must reach. Defaults to 0.8',
    )
    parser.add_argument('--num-workers', type=int, default=2, help='that read the images')
    parser.add_argument('--device', help='such as cuda:1 or cpu')
    args = parser.parse_args()
    predictions.check_arguments(parser, args)
    if args.pictures and osp.isdir(args.input):
        inside = osp.relpath(osp.realpath(args.pictures), osp.realpath(args.input))
        if inside.split(os.sep)[0] != os.pardir:
            parser.error(
                f'--pictures {osp.abspath(args.pictures)} lies among the images: '
                'the next run would predict the pictures. Choose another one'
            )
    try:
        check_number('--num-workers', args.num_workers, minimum=0)
        if args.confidence is not None:
            check_number('--confidence', args.confidence, above=0, maximum=1)
    except ValueError as error:
        parser.error(str(error))
    return args


def find_images(path):
    """The images that an IMAGE, DIR or LIST stands for, each once, and their names."""
    if osp.isdir(path) or path.lower().endswith(IMAGE_EXTENSIONS):
        return list_images(path)
    return list_images(predictions.read_list(path))


def identify(args, cfg, images, inferencer):
    """What the lines depend on, by content: files may change under their names.

    Returns:
        dict[str, str | int]: By the name of the argument.
    """
    used = {key: cfg.get(key) for key in ('model', 'data_preprocessor')}
    used['dataset'] = cfg.test_dataloader.dataset
    if osp.isfile(args.checkpoint):
        checkpoint = predictions.digest_file(args.checkpoint)
    else:  # an address
        checkpoint = hashlib.sha256(args.checkpoint.encode()).hexdigest()
    taxonomy = None
    if inferencer.taxonomy is not None:
        with open(inferencer.taxonomy.file, encoding='utf-8-sig') as file:
            taxonomy = predictions.digest([file.read(), inferencer.confidence])
    return {
        'input': predictions.digest_input(args.input, images),
        'config': predictions.digest(used),
        'checkpoint': checkpoint,
        '--top-k': args.top_k,
        'taxonomy': taxonomy,
    }


def main():
    args = parse_args()
    try:
        images, names = find_images(args.input)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    cfg = load_config(args.config, args.cfg_options)
    inferencer = APCNNInferencer(
        cfg,
        args.checkpoint,
        device=args.device,
        taxonomy=args.taxonomy,
        confidence=args.confidence,
    )
    settings = identify(args, cfg, images, inferencer)
    out, done = predictions.open_output(args.out, settings, images)
    pictures = {}
    if args.pictures:
        pictures = {i: osp.join(args.pictures, name) for i, name in zip(images, names)}
    rest = [
        image
        for image in images
        if image not in done or image in pictures and not osp.isfile(pictures[image])
    ]

    def results():
        progress = ProgressBar(len(rest))
        for image, outcome in inferencer.stream(rest, args.batch_size, args.num_workers):
            result = inferencer.describe(image, outcome, args.top_k)
            if result['error'] is None and image in pictures:
                inferencer.draw(image, outcome, pictures[image])
            yield result
            progress.update()

    predictions.write_results(out, done, images, results())


if __name__ == '__main__':
    main()
