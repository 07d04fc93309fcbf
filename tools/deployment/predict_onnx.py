"""Predict images with an exported model: the JSON lines of tools/predict.py.

    python tools/deployment/predict_onnx.py IMAGE|DIR|LIST model.onnx --out results.jsonl

It needs ONNX Runtime, NumPy and Pillow, but neither PyTorch nor OpenMMLab. A run that was
stopped goes on where it was. The exit status is 0 when at least one image was predicted.
"""

import argparse
import json
import os.path as osp
import sys

repository = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
sys.path.insert(0, repository)  # bare checkout

from apcnn_runtime.files import IMAGE_EXTENSIONS, ImageList, list_folder  # noqa: E402
from apcnn_runtime.onnx_model import ONNXModel  # noqa: E402
from apcnn_runtime.predictions import (  # noqa: E402
    PredictionFile,
    digest_file,
    digest_input,
    lines_of_table,
    tell_outcome,
    write_table,
)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('input', help='an image, a folder, or a text file with paths')
    parser.add_argument('model', help='the ONNX file of tools/deployment/export.py')
    parser.add_argument(
        '--out',
        required=True,
        help='the file to write: JSON lines, or where it ends in .csv a table as well',
    )
    parser.add_argument('--top-k', type=int, default=5, help='how many classes to tell')
    parser.add_argument('--batch-size', type=int, default=16)
    args = parser.parse_args()
    if not osp.exists(args.input):
        parser.error(f'there is no {osp.abspath(args.input)}')
    if not osp.isfile(args.model):
        parser.error(f'there is no file {osp.abspath(args.model)}')
    if osp.isdir(args.out):
        parser.error(f'--out must be a file, but {osp.abspath(args.out)} is a folder')
    args.makes_table = args.out.lower().endswith('.csv')
    try:
        args.lines = lines_of_table(args.out) if args.makes_table else args.out
    except ValueError as error:
        parser.error(str(error))
    for option, value in (('--top-k', args.top_k), ('--batch-size', args.batch_size)):
        if value < 1:
            parser.error(f'{option} must be at least 1, not {value}')
    return args


def find_images(path):
    """The images that an IMAGE, DIR or LIST stands for."""
    if osp.isdir(path):
        images, note = list_folder(path)
        if note:
            print(note)
        return images
    if path.lower().endswith(IMAGE_EXTENSIONS):
        return [path]
    return ImageList(path)


def main():
    args = parse_args()
    output = PredictionFile(args.lines)
    try:
        images = find_images(args.input)
        model = ONNXModel(args.model)
        settings = {
            'input': digest_input(args.input, images),
            'model': digest_file(args.model),
            '--top-k': args.top_k,
        }
        number = output.prepare(settings, images)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    tasks, errors = output.tasks(), 0
    try:
        with output.open() as out:
            results = model.stream(tasks, args.batch_size, args.top_k)
            for i, result in enumerate(results, start=1):
                errors += result['error'] is not None
                out.write(json.dumps(result, allow_nan=False) + '\n')
                print(f'\r{i} of {len(tasks)}', end='', file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print('\nStopped by Ctrl-C. The same command goes on from here.', file=sys.stderr)
        sys.exit(130)
    output.join()
    if args.makes_table:
        write_table(args.lines, args.out)
    tell_outcome(args.out, number, errors)


if __name__ == '__main__':
    main()
