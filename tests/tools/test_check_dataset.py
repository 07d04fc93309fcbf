"""The checks themselves are tested in tests/datasets/test_check.py."""

import pytest
from helpers import MINIBIRDS_CONFIG, TINY

from tools import check_dataset


def test_good_data(run_main, minibirds):
    done = run_main(
        check_dataset,
        MINIBIRDS_CONFIG,
        *('--cfg-options', f'data_root={minibirds}', *TINY),
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert 'train: 18 images, 6 classes' in done.stdout
    assert '\nAll is well: the data are ready for training.\n\nNext:\n' in done.stdout
    command = (
        f'python tools/train.py {MINIBIRDS_CONFIG} --cfg-options data_root={minibirds}'
    )
    assert done.stdout.splitlines()[-1].startswith(f'    {command}')


@pytest.mark.parametrize('where', ['right', 'wrong'])
def test_problem(run_main, minibirds, where):
    root = minibirds if where == 'right' else minibirds / 'images'
    options = (f'data_root={root}', *TINY, 'model.head.num_classes=5')
    options += ('default_hooks.checkpont.interval=2',)
    done = run_main(check_dataset, MINIBIRDS_CONFIG, '--cfg-options', *options)
    assert done.returncode == 1
    text = done.stdout
    expected = dict(
        right='model.head.num_classes is 5', wrong='train, val and test: FileNotFoundError'
    )
    assert f'PROBLEM: {expected[where]}' in text
    assert 'WARNING: default_hooks.checkpont has no effect' in text
    last = 'Not ready for training. Problems, listed above: 1.'
    assert text.splitlines()[-1] == last
