import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import MINIBIRDS_CONFIG as CONFIG
from helpers import REPO, TINY, run_python


def run(script, *arguments, **environment):
    path = f'{os.path.dirname(sys.executable)}:{os.environ["PATH"]}'
    return subprocess.run(
        ['bash', REPO / 'tools' / script, *map(str, arguments)],
        env={**os.environ, 'PATH': path, 'OMP_NUM_THREADS': '1', **environment},
        capture_output=True,
        text=True,
        cwd=REPO,
    )


@pytest.fixture(scope='module')
def one_step(minibirds, tmp_path_factory):
    """A config for one step on 16 images, with the gradient in the weights.

    Batch normalisation, which sees the images of one process alone, gives way to group
    normalisation.
    """
    folder = tmp_path_factory.mktemp('one_step')
    (folder / 'one_step.py').write_text(f"""
_base_ = '{REPO}/{CONFIG}'
norm_cfg = dict(type='GN', num_groups=4)
model = dict(
    backbone=dict(norm_cfg=norm_cfg),
    neck=dict(norm_cfg=norm_cfg),
    head=dict(norm_cfg=norm_cfg, dropblock_probs=(0.0, 0.0, 0.0)),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=1.0))
param_scheduler = None
train_dataloader = dict(
    sampler=dict(shuffle=False),
    dataset=dict(pipeline=_base_.test_pipeline, indices=16),
)
train_cfg = dict(max_epochs=1)
""")
    return folder / 'one_step.py'


def weights(folder):
    return torch.load(folder / 'epoch_1.pth', weights_only=False)['state_dict']


def test_dist_train_has_the_gradients_of_one_process(one_step, minibirds, tmp_path):
    results = []
    for processes, batch_size, port in ((1, 16, '29611'), (2, 8, '29612')):
        work_dir = tmp_path / f'{processes} processes'  # quoted right?
        done = run(
            'dist_train.sh',
            *(one_step, processes, '--work-dir', work_dir, '--no-validate'),
            *('--cfg-options', *TINY, f'data_root={minibirds}'),
            f'train_dataloader.batch_size={batch_size}',
            PORT=port,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert f'GPU number: {processes}' in done.stdout + done.stderr
        results.append(weights(work_dir))
    single, distributed = results
    assert single.keys() == distributed.keys()
    for name, value in single.items():
        torch.testing.assert_close(value, distributed[name], rtol=1e-4, atol=1e-5, msg=name)


def test_dist_train_and_test(trained, tmp_path):
    """The model as it is, with batch normalisation."""
    options = ('--cfg-options', *trained.options)
    done = run(
        'dist_train.sh',
        *(CONFIG, 2, '--work-dir', tmp_path, *options, 'train_cfg.max_epochs=1'),
        # Each process refines as many images as are in need of it.
        *('model.test_cfg.stage=cascade', 'model.test_cfg.threshold=0.3'),
        PORT='29613',
    )
    assert done.returncode == 0, done.stderr[-3000:]
    metrics = {}
    for processes, port in ((1, '29614'), (2, '29615')):
        out = tmp_path / f'{processes}.json'
        done = run(
            'dist_test.sh',
            *(CONFIG, tmp_path / 'epoch_1.pth', processes, '--work-dir', tmp_path / 'test'),
            *('--out', out, '--out-item', 'metrics', *options),
            *('model.test_cfg.stage=cascade', 'model.test_cfg.threshold=0.3'),
            PORT=port,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        metrics[processes] = json.loads(out.read_text())
    assert metrics[1] == metrics[2]


def test_dist_predict(trained, minibirds, tmp_path):
    """Two processes go on where three were stopped; the lines are those of one."""
    (tmp_path / 'broken.jpg').touch()
    images = [*sorted(minibirds.glob('images/*/*.jpg'))[:6], tmp_path / 'broken.jpg']
    (tmp_path / 'list.txt').write_text(''.join(f'{image}\n' for image in images))
    config = trained.work_dir / 'apcnn_r18_minibirds.py'
    done = run_python(
        'tools/predict.py',
        *(tmp_path / 'list.txt', config, trained.checkpoint),
        *('--out', tmp_path / 'one.jsonl', '--num-workers', '0'),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    expected = (tmp_path / 'one.jsonl').read_text().splitlines(keepends=True)
    settings = (tmp_path / 'one.jsonl.settings.json').read_text()
    out = tmp_path / 'two processes.jsonl'
    Path(f'{out}.settings.json').write_text(settings)
    Path(f'{out}.part1').write_text(expected[1])
    Path(f'{out}.part2').write_text(expected[2][:50])
    done = run(
        'dist_predict.sh',
        *(config, trained.checkpoint, tmp_path / 'list.txt', 2, '--out', out),
        *('--num-workers', 1, '--batch-size', 2, '--pictures', tmp_path / 'drawn'),
        PORT='29616',
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert '1 images are in' in done.stdout and '1 of them could not' in done.stdout
    lines, again = ({}, {})
    for found, texts in ((lines, expected), (again, out.read_text().splitlines())):
        for line in map(json.loads, texts):
            assert found.setdefault(line['image'], line) is line
    assert lines.keys() == again.keys() == {str(image) for image in images}
    for image, line in lines.items():
        assert set(line) == set(again[image]) and line['error'] == again[image]['error']
        if line['error'] is None:
            assert again[image]['top'][0]['score'] == pytest.approx(line['top'][0]['score'])
    assert len(list((tmp_path / 'drawn').rglob('*.jpg'))) == 6
    assert not [path for path in tmp_path.iterdir() if '.part' in path.name]


@pytest.mark.parametrize(
    'script, arguments, expected',
    [
        (
            'slurm_train.sh',
            ('part', 'job', 'config.py', 'work dir', '--amp', '--cfg-options', 'a=b c'),
            ['train.py', 'config.py', '--work-dir=work dir', '--launcher=slurm', '--amp',
             '--cfg-options', 'a=b c'],
        ),
        (
            'slurm_test.sh',
            ('part', 'job', 'config.py', 'a b.pth', '--tta'),
            ['test.py', 'config.py', 'a b.pth', '--launcher=slurm', '--tta'],
        ),
    ],
)  # fmt: skip
def test_slurm(tmp_path, script, arguments, expected):
    """A stand-in for srun tells what it was called with."""
    (tmp_path / 'srun').write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    (tmp_path / 'srun').chmod(0o755)
    path = f'{tmp_path}:{os.environ["PATH"]}'
    done = run(script, *arguments, PATH=path, GPUS='4', GPUS_PER_NODE='2', SRUN_ARGS='-x a')
    assert done.returncode == 0, done.stderr
    called = done.stdout.splitlines()
    python = called.index('python')
    assert called[python + 2].endswith(expected[0])
    assert called[python + 3 :] == expected[1:]
    for option in ('--ntasks=4', '--gres=gpu:2', '--job-name=job', '-x', 'a', 'part'):
        assert option in called[:python]


@pytest.mark.parametrize(
    'name', ['dist_train', 'dist_test', 'dist_predict', 'slurm_train', 'slurm_test']
)
def test_usage(name):
    done = run(f'{name}.sh')
    assert done.returncode == 2 and 'usage' in done.stderr
