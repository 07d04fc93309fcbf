"""The curves of a training from the log in its work directory."""

import json
import math
import os.path as osp
from glob import escape, glob
from typing import Dict, Tuple

import numpy as np


def read_curves(work_dir: str) -> Dict[str, Tuple[np.ndarray, np.ndarray]]:
    """Losses and validation results of a training, resumed or not.

    A later run counts from where it begins: what an earlier one logged for the same and
    later epochs is left out.

    Args:
        work_dir (str): The work directory, with ``TIME/vis_data/scalars.json``.

    Returns:
        dict[str, tuple[np.ndarray, np.ndarray]]: The epochs (iterations, where the
        training counts these) and the values of each curve: the means of the logged
        losses, and all that validations report. {} where there is no log.
    """
    curves = {}
    for path in sorted(glob(osp.join(escape(work_dir), '*', 'vis_data', 'scalars.json'))):
        run = _read_run(path)
        # One that makes up for a validation begins with it, and trains from the next epoch.
        losses = (min(values) for name, values in run.items() if name.startswith('loss'))
        training = min(losses, default=math.inf)
        for name, earlier in curves.items():
            begin = min(run[name]) if name in run else training
            curves[name] = {x: y for x, y in earlier.items() if x < begin}
        for name, values in run.items():
            curves.setdefault(name, {}).update(values)
    return {
        name: (np.array(list(values)), np.array([np.mean(y) for y in values.values()]))
        for name, values in curves.items()
        if values
    }


def _read_run(path):
    """What was logged at each epoch, by the names of the curves."""
    run = {}
    with open(path, encoding='utf-8') as file:
        for line in file:
            try:
                entry = json.loads(line)
            except ValueError:  # cut off when the training was killed
                continue
            training = 'lr' in entry
            for name, value in entry.items():
                # Validations report PREFIX/MEASURE; the rest are times and counts.
                if name.startswith('loss') if training else '/' in name:
                    x = entry.get('epoch', entry.get('step'))
                    run.setdefault(name, {}).setdefault(x, []).append(value)
    return run
