"""Predict images: one JSON line each, with the ROIs in pixels of the original image.

    python tools/predict.py IMAGE|DIR|LIST CONFIG CHECKPOINT --out results.jsonl

DIR is searched for images with all its subfolders; LIST is a text file with one path a
line. Lines are written as they come, so a run that was stopped goes on where it was.
"""

import argparse
import json
import os
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))  # bare checkout

from mmengine.config import Config, DictAction  # noqa: E402
from mmengine.utils import ProgressBar, scandir  # noqa: E402

from apcnn_mm.apis import APCNNInferencer  # noqa: E402

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm', '.pgm')


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('input', help='an image, a folder, or a text file with paths')
    parser.add_argument('config', help='config file path')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', required=True, help='the file to write, JSON lines')
    parser.add_argument('--pictures', help='the dir to save pictures with ROIs')
    parser.add_argument('--top-k', type=int, default=5, help='how many classes to tell')
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--num-workers', type=int, default=2, help='that read the images')
    parser.add_argument('--device', help='such as cuda:1 or cpu')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, default={}, help='as in train.py'
    )
    args = parser.parse_args()
    for path in (args.input, args.config, args.checkpoint):
        if not osp.exists(path):
            parser.error(f'there is no {osp.abspath(path)}')
    return args


def find_images(path):
    """The images that an IMAGE, DIR or LIST stands for."""
    if osp.isdir(path):
        found = scandir(path, suffix=EXTENSIONS, recursive=True, case_sensitive=False)
        return [osp.join(path, name) for name in sorted(found)]
    if path.lower().endswith(EXTENSIONS):
        return [path]
    with open(path) as file:
        return [line.strip() for line in file if line.strip()]


def read_done(path):
    """The images that an earlier run has finished. A line cut short is removed."""
    done, end = set(), 0
    if osp.isfile(path):
        with open(path, 'rb+') as file:
            for line in file:
                if not line.endswith(b'\n'):
                    break
                done.add(json.loads(line)['image'])
                end += len(line)
            file.truncate(end)
    return done


def main():
    args = parse_args()
    images = find_images(args.input)
    if not images:
        sys.exit(
            f'There are no images in {osp.abspath(args.input)}. '
            f'Expected are files with {", ".join(EXTENSIONS)}.'
        )
    os.makedirs(osp.dirname(osp.abspath(args.out)), exist_ok=True)
    done = read_done(args.out)
    rest = [image for image in images if image not in done]
    if len(rest) < len(images):
        print(f'{len(images) - len(rest)} images are in {osp.abspath(args.out)} already.')
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    inferencer = APCNNInferencer(cfg, args.checkpoint, device=args.device)
    common = osp.dirname(osp.commonprefix([osp.abspath(image) for image in images]) + '_')
    errors = 0
    progress = ProgressBar(len(rest))
    with open(args.out, 'a') as out:
        for image, outcome in inferencer.stream(rest, args.batch_size, args.num_workers):
            result = inferencer.describe(image, outcome, args.top_k)
            if result['error']:
                errors += 1
            elif args.pictures:
                name = osp.relpath(osp.abspath(image), common) + '.png'
                inferencer.draw(image, outcome, osp.join(args.pictures, name))
            out.write(json.dumps(result) + '\n')
            out.flush()
            progress.update()
    print(f'\n{len(images)} images: {osp.abspath(args.out)}')
    if errors:
        print(f'{errors} of them could not be read: see their "error".')


if __name__ == '__main__':
    main()
