import json

import numpy as np
import pytest
from helpers import REPO, TINY, run_python
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image

from tools.run_ablation import TABLES

ROWS = sorted({row for table in TABLES.values() for _, row, _ in table})


def run_ablation(work_dir, minibirds, *arguments, options=()):
    return run_python(
        'tools/run_ablation.py',
        *('--work-dir', work_dir, *arguments),
        *(
            '--cfg-options',
            *TINY,
            f'data_root={minibirds}',
            'train_cfg.max_epochs=1',
            *options,
        ),
    )


def test_every_row_has_a_config_that_builds():
    leaves = {path.stem for path in (REPO / 'configs/ablation').glob('*.py')}
    assert leaves == {*ROWS, 'base'}
    for row in ROWS:
        cfg = Config.fromfile(REPO / f'configs/ablation/{row}.py')
        cfg.model.backbone.init_cfg = None
        model = MODELS.build(cfg.model)
        assert model.head.num_classes == 200
        # Rows that are called the same in two tables have the same number in both.
        paper = {
            tuple(numbers.items())[:1]
            for table in TABLES.values()
            for _, name, numbers in table
            if name == row
        }
        assert len(paper) == 1


def test_a_table(minibirds, tmp_path):
    """A row that fails does not lose the others, and only what is missing is run."""
    rows = ('--table', '3', '--rows', 'fp', 'fp_s', 'fp_c_sp', '--seeds', '1')
    # Training of this row would stop at its config.
    (tmp_path / 'fp_c_sp').mkdir()
    (tmp_path / 'fp_c_sp' / 'seed_0').touch()
    done = run_ablation(tmp_path, minibirds, *rows)
    assert done.returncode == 1
    assert 'These runs failed' in done.stderr and 'fp_c_sp, seed 0' in done.stderr
    table = (tmp_path / 'table_3.md').read_text().splitlines()
    assert [line.split('|')[1].strip() for line in table[2:]] == ['FPN', 'FPN + S']
    metrics = json.loads((tmp_path / 'fp_s' / 'seed_0' / 'metrics.json').read_text())
    cells = [cell.strip() for cell in table[3].split('|')]
    assert cells[2:8] == [
        '1',
        f'{metrics["accuracy/top1"]:.1f}',
        '86.7',
        f'{metrics["localization/mIoU"]:.1f}',
        '54.9',
        f'{metrics["localization/recall"]:.1f}',
    ]
    assert '| - | - |' in table[2]  # the feature pyramid finds nothing
    assert np.asarray(Image.open(tmp_path / 'table_3.png')).std() > 10

    (tmp_path / 'fp_c_sp' / 'seed_0').unlink()
    before = (tmp_path / 'fp' / 'seed_0' / 'metrics.json').stat().st_mtime_ns
    done = run_ablation(tmp_path, minibirds, *rows)
    assert done.returncode == 0, done.stderr[-3000:]
    other = run_ablation(tmp_path, minibirds, *rows, options=['model.head.cal_acc=True'])
    assert other.returncode == 1 and 'was run with' in other.stderr
    assert (tmp_path / 'fp' / 'seed_0' / 'metrics.json').stat().st_mtime_ns == before
    assert len((tmp_path / 'table_3.md').read_text().splitlines()) == 5


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('--table', '2', '--data', 'flowers'), 'flowers'),
        (('--table', '2', '--rows', 'fp_s'), "{'fp_s'}"),
        (('--table', '1'), '--table'),
    ],
)
def test_mistakes(arguments, message):
    done = run_python('tools/run_ablation.py', *arguments)
    assert done.returncode == 2 and message in done.stderr
