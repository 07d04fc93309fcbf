"""Train a model. The flags and their precedence are those of mmpretrain."""

import argparse
import glob
import logging
import os
import os.path as osp
from contextlib import contextmanager
from urllib.error import URLError

import _script
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.runner.checkpoint import get_torchvision_models

from apcnn_mm.datasets.holdout import hold_out
from apcnn_mm.engine.loop_check import check_batches
from apcnn_mm.engine.work_dir_lock import check_work_dir
from apcnn_mm.launch import (
    add_arguments,
    init_distributed_on_cpu,
    load_config,
    set_dataloader_defaults,
    set_in_dataloaders,
)
from apcnn_mm.misspelt import check_optimizer, find_misspelt
from apcnn_runtime.files import replacing


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument('--work-dir', help='the dir to save logs and models')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from this checkpoint or, without a path, from the latest one in '
        'the work directory',
    )
    parser.add_argument(
        '--amp', action='store_true', help='train with automatic mixed precision'
    )
    parser.add_argument(
        '--no-validate', action='store_true', help='do not evaluate during training'
    )
    parser.add_argument(
        '--holdout',
        action='store_true',
        help='leave a fifth of the training images out, for tools/calibrate.py',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the actual batch size over the batch size that '
        'it was chosen for (auto_scale_lr.base_batch_size)',
    )
    parser.add_argument(
        '--no-pin-memory', action='store_true', help='do not pin memory in dataloaders'
    )
    parser.add_argument(
        '--no-persistent-workers',
        action='store_true',
        help='do not keep the workers of dataloaders alive',
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none'
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def read_config(args):
    """The config with the command line, where --cfg-options have the last word."""
    options = dict(launcher=args.launcher)
    if args.work_dir is not None:
        options['work_dir'] = args.work_dir
    if args.resume is not None:
        load_from = None if args.resume == 'auto' else args.resume
        options.update(resume=True, load_from=load_from)
    cfg = load_config(args.config, {**options, **args.cfg_options})
    if cfg.get('resume') and 'resume' not in {**options, **args.cfg_options}:
        print_log(
            f'{args.config} has resume=True and load_from={cfg.get("load_from")}, as a '
            'resumed run leaves its config: this run resumes as well. To start anew: '
            '--cfg-options resume=False load_from=None',
            logger='current',
            level=logging.WARNING,
        )
    if cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0])
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
        if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
            raise ValueError(f'--amp: optim_wrapper.type must be OptimWrapper, not {kind}.')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise ValueError(
                f'--auto-scale-lr: {args.config} does not say which batch size its '
                'learning rate was chosen for. Add to it, for example, '
                'auto_scale_lr = dict(base_batch_size=16)'
            )
        cfg.auto_scale_lr.enable = True

    if args.holdout:
        cfg.train_dataloader.dataset = hold_out(cfg.train_dataloader.dataset)
    set_dataloader_defaults(
        cfg,
        pin_memory=True,
        persistent_workers=True,
        collate_fn=dict(type='default_collate'),
    )
    if args.no_pin_memory:
        set_in_dataloaders(cfg, pin_memory=False)
    if args.no_persistent_workers:
        set_in_dataloaders(cfg, persistent_workers=False)
    return cfg


def check_resume(cfg):
    """The work directory must be free and, to resume, hold a checkpoint."""
    check_work_dir(cfg.work_dir)
    if osp.isdir(cfg.get('load_from') or ''):
        raise FileNotFoundError(
            f'{osp.abspath(cfg.load_from)} is a folder. Give a checkpoint in it, such as '
            'epoch_20.pth, or go on with its run: --resume --work-dir '
            f'{cfg.load_from}'
        )
    checkpoints = glob.glob(osp.join(glob.escape(cfg.work_dir), '*.pth'))
    if checkpoints and not cfg.get('resume'):
        names = ', '.join(sorted(map(osp.basename, checkpoints)))
        print_log(
            f'{osp.abspath(cfg.work_dir)} has checkpoints of another training: {names}. '
            'This one starts anew, and writes over them where the names are the same: do '
            'not take the others for its own. To go on instead: --resume. To keep them '
            'apart: --work-dir.',
            logger='current',
            level=logging.WARNING,
        )
    if cfg.get('resume') and cfg.get('load_from') is None:
        # mmengine would start over in silence.
        if not checkpoints:
            raise FileNotFoundError(
                f'--resume: there is no checkpoint in {osp.abspath(cfg.work_dir)}. Give '
                'its path (--resume FILE), the directory of the run (--work-dir), or '
                'leave out --resume to start anew.'
            )


class FirstStep(Hook):
    """Knows whether a training has begun."""

    begun = False

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.begun = True


@contextmanager
def keeping_config(cfg):
    """Put the config of an earlier run back, where mmengine has written over it in vain.

    It belongs to the checkpoints beside it, which a run that is refused does not change.

    Yields:
        FirstStep: A hook for the runner.
    """
    path = osp.join(cfg.work_dir, osp.basename(cfg.filename))
    earlier = None
    if is_main_process() and osp.isfile(path):
        with open(path, 'rb') as file:
            earlier = file.read()
    first_step = FirstStep()
    try:
        yield first_step
    finally:
        if earlier is not None and not first_step.begun:
            with replacing(path) as temporary, open(temporary, 'wb') as file:
                file.write(earlier)


def train(cfg):
    """Train, and say what to do where pre-trained weights are missing."""
    init_cfg = cfg.model.get('backbone', {}).get('init_cfg') or []
    entries = [init_cfg] if isinstance(init_cfg, dict) else init_cfg
    files = (entry.get('checkpoint') for entry in entries)
    pretrained = next(filter(None, files), None)
    if pretrained and '://' not in pretrained and not osp.isfile(pretrained):
        raise FileNotFoundError(tell_missing(pretrained))
    try:
        with keeping_config(cfg) as first_step:
            runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
            runner.register_hook(first_step)
            if runner.train_loop is not None:
                # Without batches, mmengine's schedules fail before DataCheckHook can say
                # why.
                check_batches(runner.train_loop.dataloader, runner.model)
            runner.train()
    except URLError as error:
        raise ConnectionError(f'{tell_missing(pretrained)} ({error})') from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            '--resume goes on from the last checkpoint, where there is one.'
        ) from None


def tell_missing(pretrained):
    """What to do without the weights, and where those are that have a name alone."""
    scheme, _, name = str(pretrained).partition('://')
    address = ''
    if scheme == 'torchvision':
        address = f' ({get_torchvision_models().get(name)})'
    elif scheme == 'timm':
        address = f' (model.safetensors on https://huggingface.co/timm/{name})'
    return (
        f'The pre-trained weights of the backbone, {pretrained}, are missing. Download '
        f'them where there is a network{address}, and give the file: --cfg-options '
        'model.backbone.init_cfg.checkpoint=/path/to/the/file'
    )


def print_next(cfg):
    """What to do with the last checkpoint, by the config in the work directory."""
    last = osp.join(cfg.work_dir, 'last_checkpoint')
    if not is_main_process() or not cfg.get('test_dataloader') or not osp.isfile(last):
        return
    with open(last) as file:
        checkpoint = osp.join(cfg.work_dir, osp.basename(file.read()))
    config = osp.join(cfg.work_dir, osp.basename(cfg.filename))
    report, calibrated = (osp.join(cfg.work_dir, n) for n in ('report', 'calibrated.pth'))
    _script.print_next(
        ['report', config, checkpoint, '--out', report],
        ['calibrate', config, checkpoint, '--out', calibrated],
    )


def main():
    args = parse_args()
    cfg = read_config(args)
    for sentence in find_misspelt(cfg):
        print_log(sentence, 'current', logging.WARNING)
    check_optimizer(cfg)
    check_resume(cfg)
    init_distributed_on_cpu(cfg)
    train(cfg)
    print_next(cfg)


if __name__ == '__main__':
    main()
