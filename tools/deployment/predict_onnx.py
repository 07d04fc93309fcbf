"""Predict images with an exported model: the JSON lines of tools/predict.py.

    python tools/deployment/predict_onnx.py IMAGE|DIR|LIST model.onnx --out results.jsonl

It needs ONNX Runtime, NumPy and Pillow, but neither PyTorch nor OpenMMLab. A run that was
stopped goes on where it was. The exit status is 0 when at least one image was predicted.
"""

import argparse
import os.path as osp
import sys

repository = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
sys.path.insert(0, repository)  # bare checkout

from apcnn_runtime import predictions  # noqa: E402
from apcnn_runtime.files import IMAGE_EXTENSIONS, list_folder  # noqa: E402
from apcnn_runtime.onnx_model import ONNXModel  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('input', help='an image, a folder, or a text file with paths')
    parser.add_argument('model', help='the ONNX file of tools/deployment/export.py')
    predictions.add_arguments(parser)
    args = parser.parse_args()
    predictions.check_arguments(parser, args)
    if not osp.isfile(args.model):
        parser.error(f'there is no file {osp.abspath(args.model)}')
    return args


def find_images(path):
    """The images that an IMAGE, DIR or LIST stands for, each once."""
    if osp.isdir(path):
        images, note = list_folder(path)
        if note:
            print(note)
        return images
    if path.lower().endswith(IMAGE_EXTENSIONS):
        return [path]
    return predictions.read_list(path)


def main():
    args = parse_args()
    try:
        images = find_images(args.input)
        model = ONNXModel(args.model)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    settings = {
        'input': predictions.digest_input(args.input, images),
        'model': predictions.digest_file(args.model),
        '--top-k': args.top_k,
    }
    out, done = predictions.open_output(args.out, settings, images)
    rest = [image for image in images if image not in done]

    def results():
        for i, result in enumerate(model.stream(rest, args.batch_size, args.top_k)):
            yield result
            print(f'\r{i + 1}/{len(rest)}', end='', file=sys.stderr, flush=True)

    try:
        predictions.write_results(out, done, images, results())
    except KeyboardInterrupt as error:
        print(f'\nStopped by Ctrl-C. {error}', file=sys.stderr)
        sys.exit(130)


if __name__ == '__main__':
    main()
