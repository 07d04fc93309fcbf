"""Predict images: one JSON line each, with the ROIs in pixels of the original image.

    python tools/predict.py IMAGE|DIR|LIST CONFIG CHECKPOINT --out results.jsonl

DIR is searched for images with all its subfolders; LIST is a text file in UTF-8 with one
path a line. Boxes are (x1, y1, x2, y2) in pixels of an image of the line's width and
height, which is turned as the EXIF orientation of the file says.

Lines are written as they come, so a run that was stopped goes on where it was, also with
another number of processes (``tools/dist_predict.sh``). What they were made with is in
``results.jsonl.settings.json``. With ``--format csv`` the lines are in ``OUT.jsonl``, and
a table of them is written at the end. The exit status is 0 when at least one image was
predicted.
"""

import argparse
import json
import os
import os.path as osp
import sys
from functools import reduce

import _script  # noqa: F401
from mmengine.utils import ProgressBar

from apcnn_mm.apis import APCNNInferencer, list_images
from apcnn_mm.arguments import check_number
from apcnn_mm.launch import Team, add_arguments, add_taxonomy_arguments, load_config
from apcnn_runtime.files import (
    IMAGE_EXTENSIONS,
    ImageList,
    check_writable,
    check_writable_folder,
)
from apcnn_runtime.predictions import (
    PredictionFile,
    digest,
    digest_file,
    digest_input,
    lines_of_table,
    tell_outcome,
    write_table,
)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('input', help='an image, a folder, or a text file with paths')
    add_arguments(parser, checkpoint=True)
    parser.add_argument('--out', required=True, help='the file to write')
    parser.add_argument(
        '--format',
        choices=('jsonl', 'csv'),
        help='JSON lines with all there is, or a table for spreadsheets: the default where '
        '--out ends in .csv',
    )
    parser.add_argument('--pictures', help='the dir to save pictures with ROIs')
    parser.add_argument('--top-k', type=int, default=5, help='how many classes to tell')
    add_taxonomy_arguments(parser)
    parser.add_argument('--batch-size', type=int, default=16, help='of each process')
    parser.add_argument(
        '--num-workers', type=int, default=2, help='that read the images of each process'
    )
    parser.add_argument('--device', help='such as cuda:1 or cpu')
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch'),
        default='none',
        help="'pytorch' for one of several processes, see tools/dist_predict.sh",
    )
    args = parser.parse_args()
    if not osp.exists(args.input):
        parser.error(f'there is no {osp.abspath(args.input)}')
    if osp.isdir(args.out):
        parser.error(f'--out must be a file, but {osp.abspath(args.out)} is a folder')
    if args.format is None:
        args.format = 'csv' if args.out.lower().endswith('.csv') else 'jsonl'
    args.lines = osp.abspath(args.out)
    if args.format == 'csv':
        try:
            args.lines = lines_of_table(args.lines)
        except ValueError as error:
            parser.error(str(error))
    if args.pictures and osp.isdir(args.input):
        inside = osp.relpath(osp.realpath(args.pictures), osp.realpath(args.input))
        if inside.split(os.sep)[0] != os.pardir:
            parser.error(
                f'--pictures {osp.abspath(args.pictures)} lies among the images: '
                'the next run would predict the pictures. Choose another one'
            )
    try:
        check_number('--top-k', args.top_k, minimum=1)
        check_number('--batch-size', args.batch_size, minimum=1)
        check_number('--num-workers', args.num_workers, minimum=0)
        if args.confidence is not None:
            check_number('--confidence', args.confidence, above=0, maximum=1)
        check_writable(args.lines)
        if args.pictures:
            check_writable_folder(args.pictures)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return args


def find_images(path):
    """The images that an IMAGE, DIR or LIST stands for, to be iterated over."""
    if osp.isdir(path) or path.lower().endswith(IMAGE_EXTENSIONS):
        return list_images(path)[0]
    return ImageList(path)


def picture_namer(args, images):
    """What names the picture of an image: it lies in --pictures as the image does."""
    if not args.pictures:
        return lambda image: None
    common = osp.abspath(args.input)
    if not osp.isdir(common):
        paths = map(osp.abspath, images)
        common = osp.dirname(reduce(lambda *two: osp.commonprefix(two), paths) + '_')
    return lambda image: osp.join(
        args.pictures, osp.relpath(osp.abspath(image), common) + '.jpg'
    )


def identify(args, cfg, images, inferencer):
    """What the lines depend on, by content: files may change under their names.

    Returns:
        dict[str, str | int]: By the name of the argument.
    """
    used = {key: cfg.get(key) for key in ('model', 'data_preprocessor')}
    used['dataset'] = cfg.test_dataloader.dataset
    if osp.isfile(args.checkpoint):
        checkpoint = digest_file(args.checkpoint)
    else:  # an address
        checkpoint = digest(args.checkpoint)
    taxonomy = None
    if inferencer.taxonomy is not None:
        names = inferencer.taxonomy
        taxonomy = digest([names.ranks, names.lineages, inferencer.confidence])
    return {
        'input': digest_input(args.input, images),
        'config': digest(used),
        'checkpoint': checkpoint,
        '--top-k': args.top_k,
        'taxonomy': taxonomy,
    }


def prepare(args, cfg, images, inferencer, output):
    """Tell all processes what to do; the number of images."""
    try:
        settings = identify(args, cfg, images, inferencer)
        return output.prepare(settings, images, picture_namer(args, images))
    except OSError as error:
        sys.exit(f'{output.path} cannot be written: {error}')
    except ValueError as error:
        sys.exit(str(error))


def predict(args, inferencer, output):
    """Do what this process has to do; the number of images that it could not predict."""
    tasks = output.tasks()
    errors = 0
    progress = ProgressBar(len(tasks)) if output.rank == 0 else None
    outcomes = inferencer.stream(tasks, args.batch_size, args.num_workers)
    with output.open() as out:
        for i, (image, outcome) in enumerate(outcomes):
            task = tasks.read(i)
            result = inferencer.describe(image, outcome, args.top_k)
            if result['error']:
                errors += 1
            elif task.picture:
                inferencer.draw(image, outcome, task.picture)
            if not task.is_written:
                out.write(json.dumps(result, allow_nan=False) + '\n')
            if progress:
                progress.update()
    return errors


def finish(args, output, number, errors):
    """Put everything together, and tell what there is."""
    output.join()
    if args.format == 'csv':
        write_table(args.lines, args.out)
    tell_outcome(args.out, number, errors)


def main():
    args = parse_args()
    team = Team(args.launcher)
    output = PredictionFile(args.lines, team.rank, team.world_size)
    if team.rank == 0:
        try:
            images = find_images(args.input)
        except (FileNotFoundError, ValueError) as error:
            sys.exit(str(error))
    cfg = load_config(args.config, args.cfg_options)
    inferencer = APCNNInferencer(
        cfg,
        args.checkpoint,
        device=args.device or team.device,
        taxonomy=args.taxonomy,
        confidence=args.confidence,
    )
    if team.rank == 0:
        number = prepare(args, cfg, images, inferencer, output)
        del images  # may be many, and each worker would get them
    team.meet('prepared')
    try:
        errors = predict(args, inferencer, output)
    except KeyboardInterrupt:
        raise KeyboardInterrupt('The same command goes on from here.') from None
    errors = team.meet('predicted', errors)
    if team.rank == 0:
        finish(args, output, number, errors)


if __name__ == '__main__':
    main()
