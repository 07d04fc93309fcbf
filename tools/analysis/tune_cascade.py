"""Pick the threshold of a cascade: which images need the refined stage.

    python tools/analysis/tune_cascade.py CONFIG CHECKPOINT --plot cascade.png

It predicts the validation images, or those that ``train.py --holdout`` has left out, with
both stages, and tells for each threshold of the raw
stage's confidence the share of images below it, which a cascade refines, the accuracy and
the multiply-adds of convolutions and linear layers. Picked is the smallest threshold from
which on no accuracy is more than --max-loss points below that of both stages.
"""

import argparse
import os.path as osp
import sys
from typing import NamedTuple

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))  # tools

import _script  # noqa: E402, F401
import numpy as np  # noqa: E402
import torch  # noqa: E402
from analysis.get_complexity import count_multiply_adds  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from mmengine.utils import track_iter_progress  # noqa: E402

from apcnn_mm.apis import APCNNInferencer  # noqa: E402
from apcnn_mm.arguments import check_number  # noqa: E402
from apcnn_mm.datasets.holdout import choose_images  # noqa: E402
from apcnn_mm.launch import add_arguments, load_config  # noqa: E402
from apcnn_runtime.files import check_writable  # noqa: E402

# Thresholds have so many digits, so that they are what is printed.
DIGITS = 4


class Curve(NamedTuple):
    """What cascades do, from the smallest threshold to the largest.

    Attributes:
        thresholds (np.ndarray): (T, ), from 0, no image is refined, to 1, all are.
        shares (np.ndarray): (T, ), the share of images that are refined.
        accuracies (np.ndarray): (T, ), in %.
    """

    thresholds: np.ndarray
    shares: np.ndarray
    accuracies: np.ndarray


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, checkpoint=True)
    parser.add_argument(
        '--max-loss',
        type=float,
        default=0.1,
        metavar='POINTS',
        help='of accuracy, in percentage points (default: %(default)s)',
    )
    parser.add_argument('--plot', metavar='FILE', help='the picture to save the curve as')
    parser.add_argument('--device', help='such as cuda:1 or cpu')
    args = parser.parse_args()
    try:
        check_number('--max-loss', args.max_loss, minimum=0)
    except ValueError as error:
        parser.error(str(error))
    if args.plot:
        known = Figure().canvas.get_supported_filetypes()
        if osp.splitext(args.plot)[1][1:].lower() not in known:
            parser.error(f'--plot: {args.plot} must end in one of .{", .".join(known)}')
        try:
            check_writable(args.plot)
        except OSError as error:
            parser.error(f'--plot: {error}')
    return args


def predict(model, loader):
    """What decides about each image.

    Args:
        model (APCNN): It predicts with both stages.
        loader (DataLoader): The images.

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: The raw stage's confidence, (N, ),
        whether the raw stage alone is right, (N, ), and whether both stages are, (N, ).
    """
    rows = []
    for batch in track_iter_progress((loader, len(loader)), file=sys.stderr):
        with torch.no_grad():
            samples = model.test_step(batch)
        for sample in samples:
            confidence, label = sample.stage_scores[0].max(dim=0)
            truth = sample.gt_label.tolist()
            both = sample.pred_label.item()
            rows.append((confidence.item(), label.item() in truth, both in truth))
    confidence, raw, both = zip(*rows)
    return np.array(confidence), np.array(raw), np.array(both)


def cascade_curve(confidence, raw, both) -> Curve:
    """The curve over all thresholds.

    Args:
        confidence (np.ndarray): (N, ), the raw stage's.
        raw (np.ndarray): (N, ), bool, where the raw stage alone is right.
        both (np.ndarray): (N, ), bool, where both stages are.
    """
    steps = np.ceil(confidence * 10**DIGITS) / 10**DIGITS
    thresholds = np.unique([0.0, *steps.clip(max=1), 1.0])
    shares, accuracies = [], []
    for threshold in thresholds:
        refined = (confidence < threshold) | (threshold == 1)
        shares.append(refined.mean())
        accuracies.append(100 * np.where(refined, both, raw).mean())
    return Curve(thresholds, np.array(shares), np.array(accuracies))


def pick(curve: Curve, max_loss: float) -> int:
    """The place in the curve from which on the accuracy is good enough.

    Args:
        curve (Curve): The curve.
        max_loss (float): How many points below that of both stages are allowed.
    """
    # 1e-9: differences of percentages are off by rounding.
    bad = curve.accuracies < curve.accuracies[-1] - max_loss - 1e-9
    return int(bad.nonzero()[0][-1]) + 1 if bad.any() else 0


def print_table(curve, chosen, multiply_adds):
    """Print the curve in steps of ten percent, and the chosen row."""
    tenths = np.arange(10) / 10
    rows = {int(np.abs(curve.shares - share).argmin()) for share in tenths}
    line = '{:>9}{:>10}{:>11}{:>16}'.format
    print(line('threshold', 'refined', 'accuracy', 'multiply-adds'))
    for i in sorted(rows | {chosen, len(curve.shares) - 1}):
        cells = (
            f'{curve.thresholds[i]:.{DIGITS}f}',
            f'{curve.shares[i]:.1%}',
            f'{curve.accuracies[i]:.2f} %',
            f'{multiply_adds[i] / 1e9:.3f} G',
        )
        print(line(*cells) + ('  <- picked' if i == chosen else ''))


def plot(curve, chosen, multiply_adds, path):
    """Save a picture of the accuracy by the multiply-adds."""
    figure = Figure(figsize=(6, 4), layout='constrained')
    axis = figure.add_subplot()
    cost = multiply_adds / 1e9
    axis.plot(cost, curve.accuracies, drawstyle='steps-post')
    axis.axhline(
        curve.accuracies[-1], color='grey', linestyle=':', label='all images refined'
    )
    axis.plot(
        cost[chosen],
        curve.accuracies[chosen],
        'o',
        label=f'threshold {curve.thresholds[chosen]:.{DIGITS}f}: '
        f'{curve.shares[chosen]:.0%} refined',
    )
    axis.set_xlabel('multiply-adds of an image, mean [G]')
    axis.set_ylabel('accuracy [%]')
    axis.legend(loc='lower right')
    figure.savefig(path, dpi=150)


def main():
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    if cfg.model.get('stages', 'both') != 'both':
        sys.exit('A cascade needs two stages, but the config has model.stages="raw".')
    cfg.model.test_cfg = dict(stage='both')
    inferencer = APCNNInferencer(cfg, args.checkpoint, device=args.device)
    model = inferencer.model
    images, said, seen = choose_images(cfg, inferencer.meta)
    if seen:
        images = cfg.val_dataloader.dataset
        said = (
            'The validation images of this config are also its test images: the accuracy '
            'of the cascade on them is no longer one of unseen images. For a clean '
            'choice, train with --holdout (docs/trust.md).'
        )
    print(said)
    loader = Runner.build_dataloader({**cfg.val_dataloader, 'dataset': images})
    curve = cascade_curve(*predict(model, loader))
    chosen = pick(curve, args.max_loss)

    shape = loader.dataset[0]['inputs'].shape[-2:]
    model.cpu()
    total = sum(count_multiply_adds(model, shape).values())
    model.test_stage = 'raw'
    raw = sum(count_multiply_adds(model, shape).values())
    multiply_adds = raw + curve.shares * (total - raw)

    count = len(loader.dataset)
    print(
        f'\n{count} images of {shape[0]} x {shape[1]}; one of them is '
        f'{100 / count:.2f} points of accuracy.'
    )
    print_table(curve, chosen, multiply_adds)
    if args.plot:
        plot(curve, chosen, multiply_adds, args.plot)
        print(f'The curve: {osp.abspath(args.plot)}')
    if curve.thresholds[chosen] == 0:
        print(
            f'On these {count} images the refined stage gains nothing: predict with '
            '--cfg-options model.test_cfg.stage=raw'
        )
    else:
        print(
            'Predict with --cfg-options model.test_cfg.stage=cascade '
            f'model.test_cfg.threshold={curve.thresholds[chosen]:.{DIGITS}f}'
        )


if __name__ == '__main__':
    main()
