"""What several tests share."""

import subprocess
import sys
from pathlib import Path

from mmengine.config import Config
from mmpretrain.registry import MODELS

REPO = Path(__file__).parents[1]


def build_model(config, **options):
    """Build the model of a config without pre-trained weights."""
    cfg = Config.fromfile(REPO / 'configs' / config)
    cfg.model.backbone.init_cfg = None
    cfg.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    return MODELS.build(cfg.model)


def run_python(*arguments, **options):
    """Run a script of the repository; the finished process with its output."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        **{'cwd': REPO, 'capture_output': True, 'text': True, **options},
    )
