"""Test a checkpoint. The flags and their precedence are those of mmpretrain."""

import argparse
import os
import os.path as osp
from copy import deepcopy

import _script  # noqa: F401
import mmengine
from mmengine.config import ConfigDict
from mmengine.dist import is_main_process
from mmengine.evaluator import DumpResults
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from apcnn_mm.launch import (
    add_arguments,
    init_distributed_on_cpu,
    load_config,
    set_dataloader_defaults,
    set_in_dataloaders,
)
from apcnn_runtime.files import check_writable, replacing


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser, checkpoint=True)
    parser.add_argument('--work-dir', help='the dir to save the log and the metrics')
    parser.add_argument('--out', help='the file to output results')
    parser.add_argument(
        '--out-item',
        choices=['metrics', 'pred'],
        help='whether --out gets the metrics or the predictions. Defaults to predictions',
    )
    parser.add_argument(
        '--amp', action='store_true', help='test with automatic mixed precision'
    )
    parser.add_argument('--show-dir', help='the dir to save pictures of predictions')
    parser.add_argument(
        '--show', action='store_true', help='show the predictions in a window'
    )
    parser.add_argument(
        '--interval', type=int, default=1, help='show every so many samples'
    )
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds to show each window'
    )
    parser.add_argument(
        '--no-pin-memory', action='store_true', help='do not pin memory in dataloaders'
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation: tta_pipeline and tta_model of the config or, '
        'without them, the mean score of the image and its mirror image',
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none'
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.out is None and args.out_item is not None:
        parser.error('--out-item needs --out')
    if args.out is not None:
        endings = ('.pkl', '.pickle')
        if args.out_item == 'metrics':
            endings += ('.json', '.yml', '.yaml')
        if not args.out.endswith(endings):
            parser.error(
                f'--out: {osp.abspath(args.out)} must end in {" or ".join(endings)}'
            )
        try:
            check_writable(args.out)
        except OSError as error:
            parser.error(f'--out: {error}')
    return args


def write_metrics(metrics, path):
    """Write metrics to a file that is whole at any time."""
    kind = osp.splitext(path)[1][1:]
    if kind not in ('pkl', 'pickle'):  # which alone have tensors
        metrics = {
            name: value.tolist() if hasattr(value, 'tolist') else value
            for name, value in metrics.items()
        }
    with replacing(path) as temporary:
        mmengine.dump(metrics, temporary, file_format=kind)


def read_config(args):
    """The config with the command line, where --cfg-options have the last word."""
    options = dict(
        launcher=args.launcher,
        load_from=args.checkpoint,
        resume=False,  # the config that a resumed run left behind has it
    )
    if args.work_dir is not None:
        options['work_dir'] = args.work_dir
    if args.amp:
        options['test_cfg.fp16'] = True
    if args.show or args.show_dir is not None:
        hook = dict(
            enable=True,
            show=args.show,
            wait_time=args.wait_time,
            out_dir=args.show_dir,
            interval=args.interval,
        )
        for key, value in hook.items():
            options[f'default_hooks.visualization.{key}'] = value
    cfg = load_config(args.config, {**options, **args.cfg_options})
    if cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0])
    # mmengine saves the config in the work directory, in place of the training's.
    if osp.isfile(osp.join(cfg.work_dir, 'last_checkpoint')):
        cfg.work_dir = osp.join(cfg.work_dir, 'test')
    if 'visualization' in cfg.get('default_hooks', {}):
        cfg.default_hooks.visualization.setdefault('type', 'RGBVisualizationHook')
    set_dataloader_defaults(cfg, pin_memory=True, collate_fn=dict(type='default_collate'))
    if args.no_pin_memory:
        set_in_dataloaders(cfg, pin_memory=False)
    if args.tta:
        add_tta(cfg)  # the options are those of the model that it wraps
    return cfg


def add_tta(cfg):
    """Wrap the model and the pipeline for test-time augmentation."""
    pipeline = cfg.test_dataloader.dataset.pipeline
    if 'tta_pipeline' not in cfg:
        # Pictures are those of the first one.
        flips = [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)]
        cfg.tta_pipeline = deepcopy(pipeline[:-1])
        keeping = cfg.tta_pipeline[-1]
        if keeping.type == 'KeepOriginal':  # it must know of the flip
            flips = [
                dict(keeping, transforms=[*keeping.transforms, flip]) for flip in flips
            ]
            cfg.tta_pipeline.pop()
        cfg.tta_pipeline.append(
            dict(type='TestTimeAug', transforms=[flips, [pipeline[-1]]])
        )
    if 'tta_model' not in cfg:
        cfg.tta_model = dict(type='APCNNTTAModel')
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline


def main():
    args = parse_args()
    cfg = read_config(args)
    init_distributed_on_cpu(cfg)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if args.out and args.out_item != 'metrics':
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
    metrics = runner.test()
    if args.out and args.out_item == 'metrics' and is_main_process():
        write_metrics(metrics, args.out)


if __name__ == '__main__':
    main()
