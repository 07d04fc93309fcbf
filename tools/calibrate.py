"""Calibrate a checkpoint: probabilities that hold, and a threshold for strangers.

    python tools/calibrate.py CONFIG CHECKPOINT --out calibrated.pth

Finds a temperature for the probabilities, and up to which novelty an image counts as one
of the known classes. Both go into the new checkpoint, and everything that predicts with it
uses them. They are found on the validation split or, where this is the test split, on what
``train.py --holdout`` has left out of the training images.

With ``--strangers DIR``, pictures of none of the classes, it tells how well each score of
novelty finds them, to choose one by ``--score``.
"""

import argparse
import math
import os.path as osp
import sys

import _script
import torch
from mmengine.runner import Runner, save_checkpoint
from mmengine.runner.checkpoint import get_state_dict, weights_to_cpu
from mmengine.utils import track_iter_progress
from mmpretrain.registry import DATASETS

from apcnn_mm.apis import APCNNInferencer
from apcnn_mm.arguments import check_number
from apcnn_mm.datasets.holdout import choose_images
from apcnn_mm.datasets.splits import open_picture, pipelines
from apcnn_mm.evaluation.calibration import (
    auroc,
    expected_calibration_error,
    share_below,
)
from apcnn_mm.geometry import gives_one_size
from apcnn_mm.launch import add_arguments, load_config, typed_options
from apcnn_mm.models.calibrator import COLDEST, SCORES
from apcnn_mm.models.stages import CASCADE
from apcnn_runtime.files import check_writable, replacing

SEEN = """\
WARNING: the model was trained on these images, and is surer of them than of new ones. They
cannot show how much too sure it is: the temperature would come out too low, so none below 1
is taken. And the threshold is too strict: more images of known classes will be refused than
you want. For a calibration that holds, train with `train.py --holdout`, which leaves out a
fifth of the training images, and calibrate with the config in its work directory; or have
pictures for validation and test apart (`split_dataset.py --test 0.2`, and --cfg-options
test_dataloader.dataset.split=test)."""


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, checkpoint=True)
    parser.add_argument('--out', required=True, help='the checkpoint to write, .pth')
    parser.add_argument(
        '--score',
        choices=SCORES,
        default='energy',
        help='what tells strangers. Defaults to energy, the best where it was measured',
    )
    parser.add_argument(
        '--accept',
        type=float,
        default=0.95,
        help='the share of images of known classes to accept. Defaults to 0.95',
    )
    parser.add_argument('--strangers', help='a folder of images of none of the classes')
    parser.add_argument(
        '--seed', type=int, default=0, help='of the training images that are taken'
    )
    parser.add_argument('--device', help='such as cuda:1 or cpu')
    args = parser.parse_args()
    if not args.out.endswith('.pth') or osp.isdir(args.out):
        parser.error(f'--out must be a file that ends in .pth, not {osp.abspath(args.out)}')
    files = (args.out, args.checkpoint)  # the latter may be an address
    if all(map(osp.exists, files)) and osp.samefile(*files):
        parser.error('--out must be another file than the checkpoint')
    if args.strangers is not None and not osp.isdir(args.strangers):
        parser.error(f'--strangers: there is no folder {osp.abspath(args.strangers)}')
    try:
        check_number('--accept', args.accept, above=0, below=1)
        check_number('--seed', args.seed, minimum=0)
        check_writable(args.out)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return args


def classify(model, dataset, loader):
    """The logits of all images.

    Args:
        model (APCNN): The model.
        dataset (Dataset): The images.
        loader (dict): The config of a data loader.

    Returns:
        tuple[Tensor, Tensor]: The logits of each classifier, (M, N, C), and the labels,
        (N, ); of strangers there are none.
    """
    loader = dict(loader, dataset=dataset)
    # Images that were padded to one size would be predicted otherwise.
    if not all(map(gives_one_size, pipelines(dataset))):
        loader['batch_size'] = 1
    loader = Runner.build_dataloader(loader)
    logits, labels = [], []
    for batch in track_iter_progress((loader, len(loader)), file=sys.stderr):
        data = model.data_preprocessor(batch)
        with torch.no_grad():
            scores = model.classify(data['inputs'], data['data_samples'])
        logits.append(scores.flatten(0, 1).float().cpu())
        labels += [sample.gt_label.cpu() for sample in data['data_samples']]
    return torch.cat(logits, dim=1), torch.cat(labels)


def leave_out_broken(strangers):
    """The pictures that can be read; the others are told."""
    broken = {}
    for i in range(len(strangers)):
        path = strangers.get_data_info(i)['img_path']
        error = open_picture(strangers.pipeline.transforms[0], path).error
        if error is not None:
            broken[i] = error
    if broken:
        first = next(iter(broken.values()))
        print(f'{len(broken)} of the strangers cannot be read, such as: {first}')
    return strangers.get_subset([i for i in range(len(strangers)) if i not in broken])


def describe(logits, labels, temperature):
    """The calibration of the probabilities, in words."""
    log_probs = (logits.mean(dim=0) / temperature).log_softmax(dim=-1)
    confidence, predicted = log_probs.exp().max(dim=-1)
    correct = (predicted == labels).float()
    error = expected_calibration_error(confidence, correct, 15)
    nll = -log_probs.gather(1, labels[:, None]).mean()
    return f'temperature {temperature:.2f}, ECE {100 * error:.1f} %, NLL {nll:.3f}'


def main():
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    inferencer = APCNNInferencer(cfg, args.checkpoint, device=args.device)
    model = inferencer.model
    if model.test_stage == CASCADE:
        sys.exit(
            'A cascade has the calibration of both stages: leave out '
            'model.test_cfg.stage=cascade here, and find its threshold afterwards '
            '(tools/analysis/tune_cascade.py).'
        )
    chosen, said, seen = choose_images(cfg, inferencer.meta, args.seed)
    print(f'{said}\n{SEEN}' if seen else said)
    dataset, strangers = DATASETS.build(chosen), None
    if args.strangers is not None:
        pipeline = cfg.test_dataloader.dataset.pipeline
        strangers = DATASETS.build(
            dict(type='Strangers', data_root=args.strangers, pipeline=pipeline)
        )
        strangers = leave_out_broken(strangers)
    names = list(dataset.metainfo.get('classes') or ())
    if inferencer.classes is not None and names != list(inferencer.classes):
        raise ValueError(
            f'The images are of the classes {names}, but the checkpoint is one of '
            f'{list(inferencer.classes)}. The same classes in the same order are needed.'
        )
    logits, labels = classify(model, dataset, cfg.test_dataloader)
    before = describe(logits, labels, 1.0)
    calibrator = model.head.calibrator.cpu()
    try:
        coldest = 1.0 if seen else COLDEST
        calibrator.fit(logits, labels, args.score, args.accept, coldest)
    except ValueError as error:
        most = math.floor(100 * len(labels) / (len(labels) + 1)) / 100
        sys.exit(f'{error} With these, at most --accept {most:g}')
    temperature = calibrator.temperature.item()
    print(f'\nOn these {len(labels)} images:')
    print(f'    before: {before}')
    print(f'    after:  {describe(logits, labels, temperature)}')
    if temperature == 1 and not seen:
        print('There is no best temperature: all images are right, or most are wrong.')
    print(
        f'Images with a novelty ({args.score}) up to {calibrator.threshold:.4g} are '
        f'accepted: at least {100 * args.accept:g} % of those of known classes.'
    )
    calibration = dict(
        stage=model.test_stage, score=args.score, accept=args.accept, images=len(labels)
    )
    meta = {**inferencer.meta, 'calibration': calibration}
    state_dict = weights_to_cpu(get_state_dict(model))
    with replacing(args.out) as temporary:
        save_checkpoint(dict(meta=meta, state_dict=state_dict), temporary)
    print(f'\nWritten: {osp.abspath(args.out)}')
    if strangers is not None:
        unknown, _ = classify(model, strangers, cfg.test_dataloader)
        print(f'\n{len(strangers)} strangers   AUROC   accepted at 95 % of the known')
        scores = zip(SCORES, calibrator.scores(unknown), calibrator.scores(logits))
        for name, theirs, known in scores:
            area, share = auroc(theirs, known), share_below(theirs, known, 0.95)
            chosen = '  (--score)' if name == args.score else ''
            print(f'    {name:12} {100 * area:6.1f} % {100 * share:6.1f} %{chosen}')
    _script.print_next(
        [
            *('predict', 'NEW_PICTURES', args.config, args.out),
            *('--out', 'results.csv', '--format', 'csv', *typed_options(args)),
        ]
    )


if __name__ == '__main__':
    main()
