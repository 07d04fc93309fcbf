"""How fast a config's images are loaded, beside full decoding and Pillow's resizing.

    python tools/analysis/benchmark_data.py configs/apcnn_r50_cub.py
    python tools/analysis/benchmark_data.py configs/apcnn_r50_cub.py --images a.jpg b.jpg

Both pipelines run in turns, in one thread. Times are those of the processor, medians over
the rounds.
"""

import argparse
import os.path as osp
import sys
import tempfile
import time
from copy import deepcopy
from multiprocessing import Process

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))  # tools

import _script  # noqa: E402, F401
import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from mmcv.transforms import Compose  # noqa: E402
from mmpretrain.registry import TRANSFORMS  # noqa: E402
from PIL import Image  # noqa: E402

from apcnn_mm.launch import add_arguments, load_config  # noqa: E402

# An image of CUB-200-2011, and a camera's photographs of 12 and 24 megapixels.
SIZES = ((500, 375), (4000, 3000), (6000, 4000))


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument(
        '--images',
        nargs='+',
        metavar='FILE',
        help='images to load (default: JPEGs made up in the sizes of CUB and of cameras)',
    )
    parser.add_argument('--rounds', type=int, default=9, help='(default: %(default)s)')
    return parser.parse_args()


def make_picture(path, width, height):
    """Save a JPEG with the spectrum of photographs.

    Args:
        path (str): Where to save it.
        width (int): Its width.
        height (int): Its height.
    """
    rng = np.random.default_rng(0)
    y, x = np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width) * width
    amplitude = 1 / np.maximum(np.hypot(y, x), 1) ** 1.4
    noise = rng.normal(size=(3, *amplitude.shape)) + 1j * rng.normal(size=amplitude.shape)
    grey = np.fft.irfft2(noise[0] * amplitude, s=(height, width))
    planes = [
        grey + 0.3 * np.fft.irfft2(plane * amplitude, s=(height, width)) for plane in noise
    ]
    image = 120 + 50 * np.stack(planes, axis=-1) / np.std(grey)
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def pillow_pipeline(pipeline):
    """The same pipeline with full decoding and Pillow's resizing."""
    pipeline = deepcopy(pipeline)
    for transform in pipeline:
        transform.pop('scale_hint', None)
        if transform.type == 'AntialiasedResize':
            transform.update(type='Resize', backend='pillow')
    return pipeline


def run(pipeline, path, seed):
    """Processor seconds for one image, and the image: for one seed in the same crop."""
    np.random.seed(seed)
    start = time.process_time()
    packed = pipeline(dict(img_path=path, gt_label=0))
    return time.process_time() - start, packed['inputs']


def compare(path, pipeline, rounds):
    """Medians of the seconds with Pillow and as configured, and their difference.

    Args:
        path (str): An image.
        pipeline (list[dict]): The training pipeline of a config.
        rounds (int): How often each of both pipelines runs.

    Returns:
        tuple[float, float, float]: Seconds with Pillow, seconds as configured, and the
        mean difference of the resulting pixels in grey levels.
    """
    variants = [
        Compose([TRANSFORMS.build(transform) for transform in transforms])
        for transforms in (pillow_pipeline(pipeline), pipeline)
    ]
    # Short runs are repeated, so that a round takes some time.
    repeats = max(1, int(0.2 / run(variants[0], path, 0)[0]))
    seconds, differences = ([], []), []
    # Nothing else between the runs: who has had much memory gets it faster again, which a
    # data loader's worker has not.
    for i in range(rounds):
        for variant, times in zip(variants, seconds):
            runs = [run(variant, path, seed)[0] for seed in range(i, i + repeats)]
            times.append(sum(runs) / repeats)
    for i in range(rounds):
        pixels, others = (run(variant, path, i)[1].float() for variant in variants)
        differences.append((pixels - others).abs().mean().item())
    return (*map(np.median, seconds), np.mean(differences))


def main():
    args = parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    cfg = load_config(args.config, args.cfg_options)
    pipeline = cfg.train_dataloader.dataset.pipeline
    print('| image | size | with Pillow | as configured | ratio | grey levels apart |')
    print('|---|---|---|---|---|---|')
    with tempfile.TemporaryDirectory() as folder:
        paths = args.images or []
        if not paths:
            for width, height in SIZES:
                paths.append(osp.join(folder, f'{width}x{height}.jpg'))
                # In another process, for the memory that it needs.
                maker = Process(target=make_picture, args=(paths[-1], width, height))
                maker.start()
                maker.join()
        for path in paths:
            slow, fast, difference = compare(path, pipeline, args.rounds)
            print(
                f'| {osp.basename(path)} | {osp.getsize(path) / 1e6:.2f} MB '
                f'| {1e3 * slow:.1f} ms | {1e3 * fast:.1f} ms | {slow / fast:.1f} '
                f'| {difference:.2f} |',
                flush=True,
            )


if __name__ == '__main__':
    main()
