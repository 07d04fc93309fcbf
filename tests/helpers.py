"""What several tests share."""

import json
import subprocess
import sys
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmpretrain.registry import MODELS

from apcnn_mm.apis.export import MINIMUM_TORCH
from apcnn_mm.launch import load_config

# Whether this PyTorch can export to ONNX.
CAN_EXPORT = tuple(map(int, torch.__version__.split('.')[:2])) >= MINIMUM_TORCH
REPO = Path(__file__).parents[1]
MINIBIRDS_CONFIG = 'configs/apcnn_r18_minibirds.py'
# A few steps of a very narrow model.
TINY = [
    'model.backbone.stem_channels=8',
    'model.backbone.base_channels=8',
    'model.neck.in_channels=[16,32,64]',
    'model.neck.out_channels=32',
    'model.head.in_channels=32',
    'model.head.hidden_channels=16',
    'model.head.num_classes=6',
    'train_dataloader.batch_size=4',
    'default_hooks.logger.interval=1',
    'log_processor.window_size=1',
    'default_hooks.roi_visualization.interval=5',
    'randomness.seed=0',
]


def build_model(config, **options):
    """Build the model of a config without pre-trained weights."""
    cfg = Config.fromfile(REPO / 'configs' / config)
    cfg.model.backbone.init_cfg = None
    if cfg.model.head.num_classes is None:  # as many as the data have
        cfg.model.head.num_classes = 1000
    cfg.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    return MODELS.build(cfg.model)


def tiny_config(data_root, work_dir, **options):
    """The config of the tests, to train in this process; `__` stands for a dot."""
    tiny = dict(option.split('=', maxsplit=1) for option in TINY)
    options = {
        **{key: DictAction._parse_iterable(value) for key, value in tiny.items()},
        'launcher': 'none',
        'train_cfg.max_epochs': 1,
        'data_root': str(data_root),
        'work_dir': str(work_dir),
        **{f'{split}_dataloader.num_workers': 0 for split in ('train', 'val', 'test')},
        **{key.replace('__', '.'): value for key, value in options.items()},
    }
    return load_config(REPO / MINIBIRDS_CONFIG, options)


def run_python(*arguments, **options):
    """Run a script of the repository; the finished process with its output."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        **{'cwd': REPO, 'capture_output': True, 'text': True, **options},
    )


def losses(work_dir):
    """The loss of each logged step, by epoch."""
    (path,) = Path(work_dir).glob('*/vis_data/scalars.json')
    logged = [json.loads(line) for line in path.read_text().splitlines()]
    by_epoch = {}
    for entry in logged:
        if 'loss' in entry:
            by_epoch.setdefault(entry['epoch'], []).append(entry['loss'])
    return by_epoch


# Runs a script as if PyTorch and OpenMMLab were not there.
WITHOUT_TORCH = """
import runpy, sys
for name in ('torch', 'mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'cv2', 'apcnn_mm'):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""
