import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import MINIBIRDS_CONFIG as CONFIG
from helpers import REPO, TINY
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image

from tools import run_ablation as ablation
from tools.run_ablation import ACCURACY, TABLES

BASE = str(REPO / CONFIG)
ROWS = sorted({row for table in TABLES.values() for _, row, _ in table})


def run_script(run_main, work_dir, minibirds, *arguments, options=()):
    return run_main(
        ablation,
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


def test_a_table(run_main, minibirds, tmp_path):
    """A row that fails does not lose the others, and only what is missing is run."""
    rows = ('--table', '3', '--rows', 'fp', 'fp_s', '--seeds', '1')
    # Training of this row, the first one, would stop at its config.
    (tmp_path / 'fp').mkdir()
    (tmp_path / 'fp' / 'seed_0').touch()
    done = run_script(run_main, tmp_path, minibirds, *rows)
    assert done.returncode == 1
    assert 'These runs failed' in done.stderr and 'fp, seed 0' in done.stderr
    table = (tmp_path / 'table_3.md').read_text().splitlines()
    assert [line.split('|')[1].strip() for line in table[2:]] == ['FPN + S']
    metrics = json.loads((tmp_path / 'fp_s' / 'seed_0' / 'metrics.json').read_text())
    cells = [cell.strip() for cell in table[2].split('|')]
    assert cells[2:8] == [
        '1',
        f'{metrics["accuracy/top1"]:.1f}',
        '86.7',
        f'{metrics["localization/mIoU"]:.1f}',
        '54.9',
        f'{metrics["localization/recall"]:.1f}',
    ]
    assert np.asarray(Image.open(tmp_path / 'table_3.png')).std() > 10

    (tmp_path / 'fp' / 'seed_0').unlink()
    before = (tmp_path / 'fp_s' / 'seed_0' / 'metrics.json').stat().st_mtime_ns
    done = run_script(run_main, tmp_path, minibirds, *rows)
    assert done.returncode == 0, done.stderr[-3000:]
    other = run_script(
        run_main, tmp_path, minibirds, *rows, options=['model.head.cal_acc=True']
    )
    assert other.returncode == 1 and 'was run with' in other.stderr
    assert (tmp_path / 'fp_s' / 'seed_0' / 'metrics.json').stat().st_mtime_ns == before
    table = (tmp_path / 'table_3.md').read_text().splitlines()
    assert len(table) == 4 and '| - | - |' in table[2]  # the feature pyramid finds nothing


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('--table', '2', '--data', 'flowers'), 'flowers'),
        (('--table', '2', '--rows', 'fp_s'), "{'fp_s'}"),
        (('--table', '1'), '--table'),
    ],
)
def test_mistakes(run_main, arguments, message):
    done = run_main(ablation, *arguments)
    assert done.returncode == 2 and message in done.stderr


@pytest.fixture
def called(monkeypatch):
    """What would be run."""
    calls = []

    def run(script, config, *arguments, base):
        calls.append(script)
        work_dir = arguments[arguments.index('--work-dir') + 1]
        if script == 'train.py':
            calls.extend(argument for argument in arguments if argument == '--resume')
            open(f'{work_dir}/epoch_9.pth', 'w').close()
            open(f'{work_dir}/epoch_10.pth', 'w').close()
        else:
            assert arguments[0] == f'{work_dir}/epoch_10.pth'
            with open(f'{work_dir}/metrics.json', 'w') as file:
                json.dump({ACCURACY: 50.0}, file)

    monkeypatch.setattr(ablation, 'run', run)
    return calls


def test_only_what_is_missing_is_run(called, tmp_path):
    args = SimpleNamespace(
        work_dir=str(tmp_path / 'a [1]'), cfg_options=['a=1'], config=BASE
    )
    ablation.run_row('fp', 0, args)
    assert called == ['train.py', 'test.py']
    ablation.run_row('fp', 0, args)
    assert called == ['train.py', 'test.py']
    assert ablation.read_runs('fp', args) == [{ACCURACY: 50.0}]
    args.cfg_options = ['a=2']
    with pytest.raises(ValueError, match=r"was run with .*\['a=1'\].*not .*\['a=2'\]"):
        ablation.run_row('fp', 0, args)
    args.cfg_options = ['a=1']
    args.config = BASE.replace('apcnn_r18', 'apcnn_foreground_r18')
    with pytest.raises(ValueError, match='was run with'):
        ablation.run_row('fp', 0, args)


@pytest.mark.parametrize('name', ['metrics.json', 'options.json'])
@pytest.mark.parametrize('content', ['', '{"accur', '\0\0\0'])
def test_a_half_written_file_counts_as_not_finished(called, tmp_path, name, content):
    args = SimpleNamespace(work_dir=str(tmp_path), cfg_options=[], config=BASE)
    ablation.run_row('fp', 0, args)
    called.clear()
    (tmp_path / 'fp/seed_0' / name).write_text(content)
    if name == 'metrics.json':
        assert ablation.read_runs('fp', args) == []
    ablation.run_row('fp', 0, args)
    assert called == ['train.py', '--resume', 'test.py']
    assert ablation.read_runs('fp', args) == [{ACCURACY: 50.0}]


def test_lines_of_a_log_that_were_cut_short(tmp_path):
    log = tmp_path / 'seed_0/run/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    lines = [
        '{"loss": 1, "time": 0.5}',
        '{"loss": 1, "ti',
        '\0\0',
        '{"accuracy/top1": 1}',
        '7',
    ]
    log.write_text('\n'.join([*lines, '{"loss": 1, "time": 1.5}']))
    assert ablation.seconds_per_step(str(tmp_path)) == 1.0
    log.write_text(lines[1])
    assert np.isnan(ablation.seconds_per_step(str(tmp_path)))


def test_another_base(monkeypatch):
    monkeypatch.setenv('ABLATION_BASE', str(REPO / CONFIG))
    for row in ROWS:
        cfg = Config.fromfile(REPO / f'configs/ablation/{row}.py')
        assert cfg.train_dataloader.dataset.data_root == 'data/minibirds'
        assert cfg.model.backbone.depth == 18


@pytest.mark.skipif(sys.platform != 'linux', reason='elsewhere SIGKILL cannot be seen')
def test_what_is_running_ends_with_it(tmp_path):
    """Whatever ends it."""
    (tmp_path / 'sleep.py').write_text(
        'import os, pathlib, sys, time\n'
        'pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\n'
        'time.sleep(300)\n'
    )
    code = (
        'from tools import run_ablation\n'
        f'run_ablation.TOOLS = {str(tmp_path)!r}\n'
        f'run_ablation.run("sleep.py", {str(tmp_path / "pid")!r}, base="none")\n'
    )
    environment = {**os.environ, 'PYTHONPATH': f'{REPO}:{REPO}/tools'}
    parent = subprocess.Popen([sys.executable, '-c', code], env=environment)
    wait_for(lambda: (tmp_path / 'pid').is_file() and (tmp_path / 'pid').read_text(), 120)
    child = int((tmp_path / 'pid').read_text())
    os.kill(child, 0)  # it is there
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not is_running(child), 30)


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_running(process):
    """Whether a process is there, and not only waited for by its parent."""
    try:
        with open(f'/proc/{process}/stat') as file:
            return file.read().rsplit(')', 1)[1].split()[0] != 'Z'
    except FileNotFoundError:
        return False
