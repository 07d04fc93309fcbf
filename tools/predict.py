"""Predict images: one JSON line each, with the ROIs in pixels of the original image.

    python tools/predict.py IMAGE|DIR|LIST CONFIG CHECKPOINT --out results.jsonl

DIR is searched for images with all its subfolders; LIST is a text file with one path a
line. Lines are written as they come, so a run that was stopped goes on where it was. What
they were made with is in ``results.jsonl.settings.json``.
"""

import argparse
import json
import os
import os.path as osp
import sys

import _script  # noqa: F401
from mmengine.utils import ProgressBar, scandir

from apcnn_mm.apis import APCNNInferencer
from apcnn_mm.datasets import IMAGE_EXTENSIONS
from apcnn_mm.launch import add_arguments, load_config


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('input', help='an image, a folder, or a text file with paths')
    add_arguments(parser, checkpoint=True)
    parser.add_argument('--out', required=True, help='the file to write, JSON lines')
    parser.add_argument('--pictures', help='the dir to save pictures with ROIs')
    parser.add_argument('--top-k', type=int, default=5, help='how many classes to tell')
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--num-workers', type=int, default=2, help='that read the images')
    parser.add_argument('--device', help='such as cuda:1 or cpu')
    args = parser.parse_args()
    if not osp.exists(args.input):
        parser.error(f'there is no {osp.abspath(args.input)}')
    return args


def find_images(path):
    """The images that an IMAGE, DIR or LIST stands for."""
    if osp.isdir(path):
        found = sorted(scandir(path, recursive=True))
        images = [name for name in found if name.lower().endswith(IMAGE_EXTENSIONS)]
        if len(images) < len(found):
            print(f'{len(found) - len(images)} files there are no images by their names.')
        return [osp.join(path, name) for name in images]
    if path.lower().endswith(IMAGE_EXTENSIONS):
        return [path]
    try:
        with open(path, encoding='utf-8') as file:
            return [line.strip() for line in file if line.strip()]
    except UnicodeDecodeError:
        sys.exit(
            f'{osp.abspath(path)} is neither a text file with paths nor an image with one '
            f'of the endings {", ".join(IMAGE_EXTENSIONS)}.'
        )


def read_done(path):
    """The lines of an earlier run that need not be done again, by image.

    A line that was cut short and images that could not be read are done again.
    """
    done = {}
    with open(path, encoding='utf-8') as file:
        for line in file:
            if line.endswith('\n'):
                result = json.loads(line)
                if result['error'] is None:
                    done[result['image']] = line
    return done


def open_output(args):
    """Open the output, with what an earlier run with the same settings has finished.

    Returns:
        tuple[IO, set[str]]: The file, and the images that are in it.
    """
    path, settings_path = osp.abspath(args.out), osp.abspath(args.out) + '.settings.json'
    os.makedirs(osp.dirname(path), exist_ok=True)
    settings = dict(
        config=osp.abspath(args.config),
        checkpoint=osp.abspath(args.checkpoint),
        cfg_options=str(args.cfg_options),
        top_k=args.top_k,
    )
    done = {}
    if osp.isfile(path) and osp.getsize(path):
        earlier = None
        if osp.isfile(settings_path):
            with open(settings_path) as file:
                earlier = json.load(file)
        if earlier != settings:
            sys.exit(
                f'{path} is there already, and was not written with these settings, but '
                f'with {earlier or "something else"}. Choose another --out or remove it.'
            )
        done = read_done(path)
        print(f'{len(done)} images are in {path} already.')
    with open(settings_path, 'w') as file:
        json.dump(settings, file)
    with open(path + '.tmp', 'w', encoding='utf-8') as file:
        file.writelines(done.values())
    os.replace(path + '.tmp', path)  # whole at any time
    return open(path, 'a', encoding='utf-8'), set(done)


def main():
    args = parse_args()
    images = find_images(args.input)
    if not images:
        sys.exit(
            f'There are no images in {osp.abspath(args.input)}. Expected are files with '
            f'{", ".join(IMAGE_EXTENSIONS)}.'
        )
    cfg = load_config(args.config, args.cfg_options)
    inferencer = APCNNInferencer(cfg, args.checkpoint, device=args.device)
    common = osp.dirname(osp.commonprefix([osp.abspath(image) for image in images]) + '_')
    errors = 0
    out, done = open_output(args)
    rest = [image for image in images if image not in done]
    progress = ProgressBar(len(rest))
    with out:
        for image, outcome in inferencer.stream(rest, args.batch_size, args.num_workers):
            result = inferencer.describe(image, outcome, args.top_k)
            if result['error']:
                errors += 1
            elif args.pictures:
                name = osp.relpath(osp.abspath(image), common) + '.jpg'
                inferencer.draw(image, outcome, osp.join(args.pictures, name))
            out.write(json.dumps(result) + '\n')
            out.flush()
            progress.update()
    print(f'\n{len(images)} images: {osp.abspath(args.out)}')
    if errors:
        print(f'{errors} of them could not be read: see their "error".')


if __name__ == '__main__':
    main()
