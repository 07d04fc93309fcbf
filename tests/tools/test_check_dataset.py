"""The checks themselves are tested in tests/datasets/test_check.py."""

import pytest
from helpers import MINIBIRDS_CONFIG, REPO, TINY, run_python

from tools import check_dataset


def test_good_data(minibirds):
    done = run_python(
        'tools/check_dataset.py',
        MINIBIRDS_CONFIG,
        *('--cfg-options', f'data_root={minibirds}', *TINY),
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert 'train: 18 images, 6 classes' in done.stdout
    assert done.stdout.splitlines()[-1] == ('All is well: the data are ready for training.')


@pytest.mark.parametrize('where', ['right', 'wrong'])
def test_problem(minibirds, monkeypatch, capsys, where):
    root = minibirds if where == 'right' else minibirds / 'images'
    options = (f'data_root={root}', *TINY, 'model.head.num_classes=5')
    options += ('default_hooks.checkpont.interval=2',)
    arguments = [
        'check_dataset.py',
        str(REPO / MINIBIRDS_CONFIG),
        '--cfg-options',
        *options,
    ]
    monkeypatch.setattr('sys.argv', arguments)
    assert check_dataset.main() == 1
    text = capsys.readouterr().out
    expected = dict(
        right='model.head.num_classes is 5', wrong='train, val and test: FileNotFoundError'
    )
    assert f'PROBLEM: {expected[where]}' in text
    assert 'WARNING: default_hooks.checkpont has no effect' in text
    last = 'Not ready for training. Problems, listed above: 1.'
    assert text.splitlines()[-1] == last
