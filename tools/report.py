"""Make a report on a trained model: an HTML page that opens from the disk.

    python tools/report.py CONFIG CHECKPOINT --out report

On the test split, or on a folder with one folder of pictures for each class (``--images``).
``--labels`` adds a page of training labels that may be wrong, and of pictures that are in
two splits.
"""

import argparse
import os
import os.path as osp
import shutil
import sys
import tempfile
from datetime import datetime

import _script
from mmengine.utils import track_iter_progress

from apcnn_mm.apis import APCNNInferencer
from apcnn_mm.arguments import check_number
from apcnn_mm.datasets.split import difference_hash
from apcnn_mm.datasets.splits import build_splits
from apcnn_mm.launch import add_arguments, load_config, typed_options

try:
    from apcnn_mm import analysis
    from apcnn_mm.analysis import labels, page, pictures
    from apcnn_mm.analysis.training_log import read_curves
except ImportError as error:
    sys.exit(
        f'The report needs scikit-learn, SciPy and Jinja2 ({error}):\n'
        '    pip install scikit-learn scipy jinja2'
    )

PAGES = {'index.html', 'labels.html', 'pictures'}
LEFT_BEHIND = {'.DS_Store', 'Thumbs.db', 'desktop.ini'}  # by those who looked at them


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, checkpoint=True)
    parser.add_argument('--out', required=True, help='the folder to write')
    parser.add_argument(
        '--images',
        help='a folder with one folder of pictures for each class. Defaults to the test '
        'split of the config',
    )
    parser.add_argument(
        '--labels', action='store_true', help='add a page of labels that may be wrong'
    )
    parser.add_argument(
        '--folds',
        help="the work directory of mmpretrain's kfold-cross-valid.py, for --labels. "
        'Without it, the model judges labels that it was trained on',
    )
    parser.add_argument(
        '--taxonomy',
        help='a CSV file with the classes and the names above them',
    )
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--num-workers', type=int, default=2, help='that read the images')
    parser.add_argument('--device', help='such as cuda:1 or cpu')
    args = parser.parse_args()
    try:
        check_number('--batch-size', args.batch_size, minimum=1)
        check_number('--num-workers', args.num_workers, minimum=0)
    except ValueError as error:
        parser.error(str(error))
    if args.folds and not args.labels:
        parser.error('--folds needs --labels')
    args.out = osp.realpath(args.out)
    if osp.lexists(args.out) and not osp.isdir(args.out):
        parser.error(f'--out must be a folder, but {args.out} is a file')
    if osp.ismount(args.out):
        parser.error(
            f'--out {args.out} is a mounted folder, which cannot be replaced as a whole. '
            'Give a folder in it'
        )
    there = set(os.listdir(args.out)) if osp.isdir(args.out) else set()
    others = there - PAGES - LEFT_BEHIND
    if others:
        parser.error(
            f'--out {args.out} holds something else than a report, such as {min(others)}. '
            'Choose another folder'
        )
    return args


def read_training(args, cfg, classes):
    """The training pictures by the checkpoint that predicts them, None for the only one."""
    if args.folds:
        return list(labels.held_out_folds(args.folds, args.cfg_options))
    return [(None, analysis.split_samples(cfg.train_dataloader.dataset, classes))]


def write_labels(args, cfg, inferencer, training, folder):
    """Predict the training pictures, compare those of all splits, and write the page."""
    evaluations = []
    for checkpoint, samples in training:
        model = inferencer
        if checkpoint:
            model = APCNNInferencer(cfg, checkpoint, device=args.device)
        evaluations.append(
            analysis.evaluate(model, samples, args.batch_size, args.num_workers)
        )
    evaluation = analysis.join(evaluations)
    splits, problems = build_splits(cfg)
    found = [
        page.SplitPicture(path, split.name, evaluation.classes[sample['gt_label']])
        for split in splits
        for path, sample in zip(split.paths, split.samples)
        if 'gt_label' in sample
    ]
    hashes = [
        difference_hash(picture.path)
        for picture in track_iter_progress(found, file=sys.stderr)
    ]
    analysis.write_labels(
        folder,
        evaluation,
        labels.find_suspects(evaluation.labels, evaluation.scores),
        len(evaluations) if args.folds else None,
        found,
        *labels.find_near_pairs(hashes, [picture.split for picture in found]),
        draw=pictures.draw_plain(inferencer),
        problems=problems,
    )


def make_report(args, folder):
    """Write the pages into a new folder; whether the checkpoint is calibrated."""
    cfg = load_config(args.config, args.cfg_options)
    inferencer = APCNNInferencer(
        cfg, args.checkpoint, device=args.device, taxonomy=args.taxonomy
    )
    classes = inferencer.classes
    try:
        if args.images:
            samples = analysis.class_folder_samples(args.images, classes)
        else:
            samples = analysis.split_samples(cfg.test_dataloader.dataset, classes)
        training = args.labels and read_training(args, cfg, classes)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    analysis.write_report(
        folder,
        analysis.evaluate(inferencer, samples, args.batch_size, args.num_workers),
        pictures.draw_evidence(inferencer),
        read_curves(osp.dirname(osp.abspath(args.checkpoint))),
        {
            'Config': osp.abspath(args.config),
            'Checkpoint': osp.abspath(args.checkpoint),
            'Pictures': osp.abspath(args.images) if args.images else 'the test split',
            'Made': f'{datetime.now():%Y-%m-%d %H:%M}',
        },
        has_labels=args.labels,
    )
    if args.labels:
        write_labels(args, cfg, inferencer, training, folder)
    return inferencer.has_threshold


def main():
    args = parse_args()
    parent, name = osp.split(args.out)
    try:
        os.makedirs(parent, exist_ok=True)
        unfinished = tempfile.TemporaryDirectory(dir=parent, prefix=f'.{name}.')
    except OSError as error:
        sys.exit(f'{args.out} cannot be written: {error}')
    with unfinished:
        folder = osp.join(unfinished.name, 'report')
        is_calibrated = make_report(args, folder)
        # A report is whole, or that of before.
        if osp.isdir(args.out):
            shutil.rmtree(args.out)
        os.replace(folder, args.out)
    print(f'\nThe report is complete. Open {osp.join(args.out, "index.html")}')
    if not is_calibrated:
        folder = osp.dirname(args.checkpoint) if osp.isfile(args.checkpoint) else ''
        out = osp.join(folder, 'calibrated.pth')
        options = typed_options(args)
        _script.print_next(
            ['calibrate', args.config, args.checkpoint, '--out', out, *options]
        )


if __name__ == '__main__':
    main()
