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
import json
import os
import os.path as osp
import sys

import _script  # noqa: F401
from mmengine.utils import ProgressBar

from apcnn_mm.apis import APCNNInferencer, list_images
from apcnn_mm.arguments import check_number
from apcnn_mm.datasets import IMAGE_EXTENSIONS
from apcnn_mm.datasets.files import read_lines
from apcnn_mm.launch import add_arguments, load_config


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('input', help='an image, a folder, or a text file with paths')
    add_arguments(parser, checkpoint=True)
    parser.add_argument('--out', required=True, help='the file to write, JSON lines')
    parser.add_argument('--pictures', help='the dir to save pictures with ROIs')
    parser.add_argument('--top-k', type=int, default=5, help='how many classes to tell')
    parser.add_argument(
        '--taxonomy', help='a CSV file with the classes and the names above them'
    )
    parser.add_argument(
        '--confidence',
        type=float,
        help='the probability that the deepest name must reach. Defaults to 0.8',
    )
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--num-workers', type=int, default=2, help='that read the images')
    parser.add_argument('--device', help='such as cuda:1 or cpu')
    args = parser.parse_args()
    if not osp.exists(args.input):
        parser.error(f'there is no {osp.abspath(args.input)}')
    if osp.isdir(args.out):
        parser.error(f'--out must be a file, but {osp.abspath(args.out)} is a folder')
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
    except ValueError as error:
        parser.error(str(error))
    return args


def find_images(path):
    """The images that an IMAGE, DIR or LIST stands for, each once, and their names."""
    if osp.isdir(path) or path.lower().endswith(IMAGE_EXTENSIONS):
        return list_images(path)
    try:
        lines = list(read_lines(path).values())
    except ValueError as error:
        raise ValueError(
            f'{osp.abspath(path)} is neither a text file in UTF-8 with paths nor an image '
            f'with one of the endings {", ".join(IMAGE_EXTENSIONS)}.'
        ) from error
    if not lines:
        raise ValueError(f'There are no images in {osp.abspath(path)}: it has no lines.')
    images = list(dict.fromkeys(lines))
    if len(images) < len(lines):
        print(f'{len(lines) - len(images)} lines of {path} are there twice or more.')
    return list_images(images)


def identify(args, cfg, images, inferencer):
    """What the lines depend on, by content: files may change under their names.

    Returns:
        dict[str, str | int]: By the name of the argument.
    """
    used = {key: cfg.get(key) for key in ('model', 'data_preprocessor')}
    used['dataset'] = cfg.test_dataloader.dataset
    checkpoint = hashlib.sha256(args.checkpoint.encode())  # an address
    if osp.isfile(args.checkpoint):
        checkpoint = hashlib.sha256()
        with open(args.checkpoint, 'rb') as file:
            for block in iter(lambda: file.read(1 << 20), b''):
                checkpoint.update(block)
    taxonomy = None
    if inferencer.taxonomy is not None:
        with open(inferencer.taxonomy.file, encoding='utf-8-sig') as file:
            taxonomy = _digest([file.read(), inferencer.confidence])
    # A folder may get more images; a list is another one then.
    source = osp.abspath(args.input)
    if not osp.isdir(source):
        source = _digest([osp.abspath(image) for image in images])
    return {
        'input': source,
        'config': _digest(used),
        'checkpoint': checkpoint.hexdigest(),
        '--top-k': args.top_k,
        'taxonomy': taxonomy,
    }


def _digest(value):
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def read_earlier(path):
    """The settings of an earlier run, {} where they cannot be read."""
    try:
        with open(path, encoding='utf-8') as file:
            settings = json.load(file)
    except (OSError, ValueError):  # none, or not whole
        return {}
    return settings if isinstance(settings, dict) else {}


def read_done(path):
    """The lines of an earlier run that need not be done again, by image.

    A line that is not whole, images that could not be read and those that have changed
    since then are done again.
    """
    done = {}
    written = osp.getmtime(path)
    with open(path, encoding='utf-8', errors='replace') as file:
        for line in file:
            try:
                result = json.loads(line)
                image, error = result['image'], result['error']
            except (ValueError, TypeError, KeyError):
                continue
            if not isinstance(image, str):
                continue
            changed = osp.isfile(image) and osp.getmtime(image) > written
            if line.endswith('\n') and error is None and not changed:
                done[image] = line
    return done


def open_output(path, settings, images):
    """Open the output, with what an earlier run with the same settings has finished.

    Args:
        path (str): The file.
        settings (dict): Those of :func:`identify`.
        images (list[str]): The images that are wanted.

    Returns:
        tuple[IO, set[str]]: The file, and the images that are in it.
    """
    settings_path = path + '.settings.json'
    os.makedirs(osp.dirname(path), exist_ok=True)
    done = {}
    if osp.isfile(path) and osp.getsize(path):
        earlier = read_earlier(settings_path)
        changed = [key for key in settings if earlier.get(key) != settings[key]]
        if changed:
            sys.exit(
                f'{path} is there already, and was not written with these settings: '
                + (
                    f'another {", ".join(changed)}.'
                    if earlier
                    else f'{settings_path} cannot be read.'
                )
                + ' Choose another --out or remove it.'
            )
        done = read_done(path)
        done = {image: done[image] for image in images if image in done}
        print(f'{len(done)} images are in {path} already.')
    _replace(settings_path, json.dumps(settings))
    _replace(path, ''.join(done.values()))
    return open(path, 'a', encoding='utf-8'), set(done)


def _replace(path, text):
    """Write a file that is whole at any time."""
    with open(path + '.tmp', 'w', encoding='utf-8') as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + '.tmp', path)


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
    path = osp.abspath(args.out)
    try:
        out, done = open_output(path, identify(args, cfg, images, inferencer), images)
    except OSError as error:
        sys.exit(f'{path} cannot be written: {error}')
    pictures = {}
    if args.pictures:
        pictures = {i: osp.join(args.pictures, name) for i, name in zip(images, names)}
    rest = [
        image
        for image in images
        if image not in done or image in pictures and not osp.isfile(pictures[image])
    ]
    errors = 0
    progress = ProgressBar(len(rest))
    try:
        for image, outcome in inferencer.stream(rest, args.batch_size, args.num_workers):
            result = inferencer.describe(image, outcome, args.top_k)
            if result['error']:
                errors += 1
            elif image in pictures:
                inferencer.draw(image, outcome, pictures[image])
            if image not in done:
                out.write(json.dumps(result, allow_nan=False) + '\n')
                out.flush()
            progress.update()
    except KeyboardInterrupt:
        raise KeyboardInterrupt('The same command goes on from here.') from None
    finally:
        out.close()
    print(f'\n{len(images)} images: {path}')
    if errors:
        print(f'{errors} of them could not be predicted: see their "error".')
    if errors == len(images):
        sys.exit('No image could be predicted.')


if __name__ == '__main__':
    main()
