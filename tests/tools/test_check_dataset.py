"""The checks themselves are tested in tests/datasets/test_check.py."""

from helpers import MINIBIRDS_CONFIG, TINY, run_python


def check(root, *options):
    done = run_python(
        'tools/check_dataset.py',
        MINIBIRDS_CONFIG,
        *('--cfg-options', f'data_root={root}', *TINY, *options),
    )
    assert 'Traceback' not in done.stderr
    return done.returncode, done.stdout


def test_good_data(minibirds):
    status, text = check(minibirds)
    assert status == 0, text
    assert 'train: 18 images, 6 classes' in text
    assert text.splitlines()[-1] == 'All is well: the data are ready for training.'


def test_problem(minibirds):
    status, text = check(minibirds, 'model.head.num_classes=5')
    assert status == 1
    assert 'PROBLEM: model.head.num_classes is 5' in text
    last = 'Not ready for training. Problems, listed above: 1.'
    assert text.splitlines()[-1] == last
