"""Run the rows of one of the paper's ablation tables and set them beside the paper's.

    python tools/run_ablation.py --table 2 --data minibirds --seeds 3

The rows are the configs of ``configs/ablation/``, on the data set and backbone of
``--data``. What has been finished is not run again, a stopped run continues, and a row
that fails does not lose the others. The table and its figure are written after each run.
"""

import argparse
import ctypes
import glob
import json
import os
import os.path as osp
import re
import signal
import subprocess
import sys
from math import isnan
from statistics import mean, stdev

import _script  # noqa: F401
from matplotlib.figure import Figure

from apcnn_mm.launch import load_config
from apcnn_runtime.files import replacing
from apcnn_runtime.predictions import digest

TOOLS = osp.dirname(osp.abspath(__file__))
CONFIGS = osp.join(osp.dirname(TOOLS), 'configs')
DATA = {
    'minibirds': 'apcnn_r18_minibirds.py',
    'cub': 'apcnn_r50_cub.py',
    'cars': 'apcnn_r50_cars.py',
    'aircraft': 'apcnn_r50_aircraft.py',
}
ACCURACY, IOU, RECALL = 'accuracy/top1', 'localization/mIoU', 'localization/recall'
# The rows of each table: its label, its config, and the paper's numbers (CUB-200-2011,
# ResNet-50). The first row is what the others are compared with.
TABLES = {
    2: [
        ('Baseline', 'plain', {ACCURACY: 84.1}),
        ('FP', 'fp', {ACCURACY: 86.6}),
        ('FP + AP', 'fp_s_cp', {ACCURACY: 87.2}),
    ],
    3: [
        ('FPN', 'fp', {ACCURACY: 86.6}),
        ('FPN + C', 'fp_c', {ACCURACY: 86.8}),
        ('FPN + S', 'fp_s', {ACCURACY: 86.7, IOU: 54.9, RECALL: 73.6}),
        ('FPN + S + C', 'fp_s_c', {ACCURACY: 86.7, IOU: 54.9, RECALL: 74.5}),
        ('FPN + C + SP', 'fp_c_sp', {ACCURACY: 86.9, IOU: 54.1, RECALL: 72.0}),
        ('FPN + S + CP', 'fp_s_cp', {ACCURACY: 87.2, IOU: 56.4, RECALL: 74.0}),
    ],
    4: [
        ('no refinement', 'fp_s_cp', {ACCURACY: 87.2}),
        ('erasing, ROI', 'erasing_roi', {ACCURACY: 87.4}),
        ('erasing, random', 'erasing_random', {ACCURACY: 87.1}),
        ('zoom-in, ROI', 'zoom_roi', {ACCURACY: 87.6}),
        ('zoom-in, random', 'zoom_random', {ACCURACY: 87.3}),
        ('both, ROI', 'both_roi', {ACCURACY: 88.4}),
        ('both, random', 'both_random', {ACCURACY: 87.6}),
        ('both, centre', 'both_center', {}),  # beyond the paper
    ],
    5: [
        ('Input image', 'refine_input', {ACCURACY: 88.1}),
        ('Conv1 feature', 'refine_conv1', {ACCURACY: 87.9}),
        ('Conv2 feature', 'refine_conv2', {ACCURACY: 88.1}),
        ('Conv3 feature', 'both_roi', {ACCURACY: 88.4}),
        ('Original picture', 'refine_original', {}),  # beyond the paper
    ],
    6: [
        ('Baseline', 'plain', {ACCURACY: 84.1}),
        ('A', 'fp_s_c', {ACCURACY: 86.7}),
        ('B', 'fp_s_cp', {ACCURACY: 87.2}),
        ('C', 'both_roi', {ACCURACY: 88.4}),
    ],
}
# What Tables 2 and 6 have for other backbones and data sets, by the name of the row.
PAPER_VGG19 = {'plain': 77.8, 'fp': 83.3, 'fp_s_cp': 85.4}
PAPER_CARS = {'plain': 91.7, 'fp_s_c': 93.1, 'fp_s_cp': 93.6, 'both_roi': 95.4}
PAPER_AIRCRAFT = {'plain': 88.5, 'fp_s_c': 91.5, 'fp_s_cp': 92.2, 'both_roi': 94.1}


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--table', type=int, choices=sorted(TABLES), required=True)
    parser.add_argument(
        '--data',
        default='minibirds',
        help=f'{", ".join(DATA)}, or the config of an AP-CNN. Defaults to minibirds',
    )
    parser.add_argument('--seeds', type=int, default=3, help='runs of each row')
    parser.add_argument('--rows', nargs='+', help='only these configs, such as fp_s')
    parser.add_argument('--work-dir', help='defaults to work_dirs/ablation/DATA')
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], help='handed to train.py and test.py'
    )
    args = parser.parse_args()
    path = osp.join(CONFIGS, DATA[args.data]) if args.data in DATA else args.data
    if not osp.isfile(path):
        parser.error(f'--data is neither {", ".join(DATA)} nor a file: {osp.abspath(path)}')
    args.config = osp.abspath(path)
    name = osp.splitext(osp.basename(path))[0] if args.data not in DATA else args.data
    args.work_dir = osp.abspath(args.work_dir or osp.join('work_dirs', 'ablation', name))
    rows = {config for _, config, _ in TABLES[args.table]}
    unknown = set(args.rows or []) - rows
    if unknown:
        parser.error(f'Table {args.table} has no {unknown}, but {sorted(rows)}')
    return args


def run(script, config, *arguments, base):
    """Run one of the tools, which tells its own errors and ends when this process does.

    Args:
        script (str): The tool.
        config (str): The config of a row.
        *arguments (str): Its other arguments.
        base (str): The config that the row is a change of.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    subprocess.run(
        [sys.executable, osp.join(TOOLS, script), config, *arguments],
        check=True,
        env={**os.environ, 'ABLATION_BASE': base},
        preexec_fn=end_with_parent if sys.platform == 'linux' else None,
    )


def end_with_parent():
    """Have Linux send SIGTERM to this process when its parent dies, however it dies."""
    PR_SET_PDEATHSIG = 1  # noqa: N806
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def run_row(row, seed, args):
    """Train and test one row with one seed, or what is missing of it.

    Raises:
        ValueError: If it has been run with another config or other options.
    """
    work_dir = osp.join(args.work_dir, row, f'seed_{seed}')
    metrics_file = osp.join(work_dir, 'metrics.json')
    options_file = osp.join(work_dir, 'options.json')
    settings = dict(config=digest_config(args.config), cfg_options=args.cfg_options)
    earlier = read_json(options_file)
    if earlier not in (None, settings):
        raise ValueError(
            f'{work_dir} was run with {earlier}, not {settings}. Remove it, or choose '
            'another --work-dir'
        )
    if earlier is not None and read_metrics(metrics_file) is not None:
        return
    os.makedirs(work_dir, exist_ok=True)
    write_text(options_file, json.dumps(settings))
    config = osp.join(CONFIGS, 'ablation', f'{row}.py')
    options = ['--work-dir', work_dir, '--cfg-options', f'randomness.seed={seed}']
    options += args.cfg_options
    resume = ['--resume'] if newest_checkpoint(work_dir) else []
    run('train.py', config, *resume, *options, base=args.config)
    out = ['--out', metrics_file, '--out-item', 'metrics']
    checkpoint = newest_checkpoint(work_dir)
    run('test.py', config, checkpoint, *out, *options, base=args.config)


def digest_config(path):
    """A fingerprint of what a config says, with all that it inherits."""
    return digest(load_config(path).to_dict())[:8]


def newest_checkpoint(work_dir):
    """The last checkpoint in a work directory, which may have been moved, or None."""
    paths = glob.glob(osp.join(glob.escape(work_dir), 'epoch_*.pth'))
    epochs = {int(re.search(r'_(\d+)\.pth$', path)[1]): path for path in paths}
    return epochs[max(epochs)] if epochs else None


def read_json(path):
    """What is in a JSON file, or None where there is none or only a part of it."""
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def read_metrics(path):
    """The metrics of a finished run, or None."""
    metrics = read_json(path)
    return metrics if isinstance(metrics, dict) and ACCURACY in metrics else None


def write_text(path, text):
    """Write a file that is whole at any time."""
    with replacing(path) as temporary, open(temporary, 'w', encoding='utf-8') as file:
        file.write(text)


def read_runs(row, args):
    """The metrics of all finished runs of a row."""
    folders = glob.glob(osp.join(glob.escape(osp.join(args.work_dir, row)), 'seed_*'))
    runs = (read_metrics(osp.join(folder, 'metrics.json')) for folder in sorted(folders))
    return [metrics for metrics in runs if metrics is not None]


def seconds_per_step(work_dir):
    """The mean time of a training step, from the logs of all runs of a row, or NaN."""
    pattern = osp.join(glob.escape(work_dir), 'seed_*', '*', 'vis_data', 'scalars.json')
    times = []
    for log in glob.glob(pattern):
        with open(log, encoding='utf-8', errors='replace') as file:
            for line in file:
                try:
                    step = json.loads(line)
                    times += [step['time']] if 'loss' in step else []
                except (ValueError, KeyError, TypeError):
                    continue  # a line that was cut short
    return mean(times) if times else float('nan')


def paper_numbers(table, row, numbers, args):
    """The paper's numbers for a row, with the data set and backbone of ``--data``."""
    cfg = load_config(args.config)
    other = None
    if table == 2 and cfg.model.backbone.type == 'VGG':
        other = PAPER_VGG19
    elif table == 6:
        other = {
            'StanfordCarsWithBoxes': PAPER_CARS,
            'FGVCAircraftWithBoxes': PAPER_AIRCRAFT,
        }.get(cfg.train_dataloader.dataset.type)
    return numbers if other is None else {ACCURACY: other[row]}


def show(values):
    """Mean and standard deviation of the runs of a row."""
    if not values:
        return '-'
    spread = f' ± {stdev(values):.1f}' if len(values) > 1 else ''
    return f'{mean(values):.1f}{spread}'


def write_table(args):
    """Write the Markdown table and the figure of all runs that there are.

    Returns:
        str: The path of the table.
    """
    rows = [
        (label, read_runs(row, args), paper_numbers(args.table, row, numbers, args), row)
        for label, row, numbers in TABLES[args.table]
    ]
    baseline, baseline_runs, baseline_paper, _ = rows[0]
    rows = [row for row in rows if row[1]]
    metrics = [ACCURACY, IOU, RECALL] if args.table == 3 else [ACCURACY]
    header = ['', 'runs']
    for metric in metrics:
        header += [f'{metric} here', 'paper']
    header += [f'difference to {baseline} here', 'paper']
    if args.table == 5:
        header.append('s / step here')

    def differences(runs, paper):
        theirs = paper.get(ACCURACY, float('nan')) - baseline_paper[ACCURACY]
        if not baseline_runs:
            return float('nan'), theirs
        here, first = (mean(run[ACCURACY] for run in r) for r in (runs, baseline_runs))
        return here - first, theirs

    lines = []
    for label, runs, paper, row in rows:
        cells = [label, str(len(runs))]
        for metric in metrics:
            cells.append(show([run[metric] for run in runs if metric in run]))
            cells.append(f'{paper[metric]:.1f}' if metric in paper else '-')
        cells += [
            '-' if isnan(value) else f'{value:+.1f}' for value in differences(runs, paper)
        ]
        if args.table == 5:
            cells.append(f'{seconds_per_step(osp.join(args.work_dir, row)):.2f}')
        lines.append(cells)
    table = [header, ['---'] * len(header), *lines]
    path = osp.join(args.work_dir, f'table_{args.table}')
    write_text(f'{path}.md', ''.join(f'| {" | ".join(cells)} |\n' for cells in table))
    draw(rows, differences, baseline, f'{path}.png', args)
    return f'{path}.md'


def draw(rows, differences, baseline, path, args):
    """Bars of the differences in accuracy to the baseline, here and in the paper."""
    figure = Figure(figsize=(1.5 + 1.2 * len(rows), 3.6), layout='constrained')
    axes = figure.subplots()
    here, paper = zip(*(differences(runs, paper) for _, runs, paper, _ in rows))
    spread = [
        stdev(run[ACCURACY] for run in runs) if len(runs) > 1 else float('nan')
        for _, runs, _, _ in rows
    ]
    places = range(len(rows))
    axes.bar([p - 0.2 for p in places], here, 0.4, yerr=spread, capsize=3, label='here')
    axes.bar([p + 0.2 for p in places], paper, 0.4, label='paper (CUB-200-2011)'
             if args.table != 6 else 'paper')  # fmt: skip
    axes.axhline(0, color='black', linewidth=0.8)
    axes.set_xticks(places, [label for label, *_ in rows], rotation=20, ha='right')
    axes.set_ylabel(f'top-1 accuracy,\ndifference to {baseline}')
    axes.set_title(f'Table {args.table} on {osp.basename(args.work_dir)}')
    axes.legend()
    figure.savefig(path, dpi=120)


def main():
    args = parse_args()
    # As at Ctrl-C: what is running is ended, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    rows = [row for _, row, _ in TABLES[args.table] if row in (args.rows or [row])]
    table, failed = None, []
    # All rows once before any twice: a stopped run leaves a whole table.
    for seed in range(args.seeds):
        for row in rows:
            print(f'--- {row}, seed {seed}', flush=True)
            try:
                run_row(row, seed, args)
                table = write_table(args)
            except (subprocess.CalledProcessError, OSError, ValueError) as error:
                failed.append(f'{row}, seed {seed}: {error}')
    if table:
        with open(table) as file:
            print(f'{file.read()}\n{table}')
    if failed:
        sys.exit('These runs failed:\n    ' + '\n    '.join(failed))


if __name__ == '__main__':
    main()
