import json

from apcnn_mm.analysis.training_log import read_curves


def write(folder, *entries, end=''):
    (folder / 'vis_data').mkdir(parents=True)
    lines = ''.join(json.dumps(entry) + '\n' for entry in entries)
    (folder / 'vis_data/scalars.json').write_text(lines + end)


def step(epoch, loss):
    return dict(lr=0.1, loss=loss, loss_raw=loss / 2, time=1.0, epoch=epoch, step=9 * epoch)


def curve(curves, name):
    return [values.tolist() for values in curves[name]]


def test_losses_are_means_of_epochs(tmp_path):
    validation = {'accuracy/top1': 50.0, 'data_time': 0.1, 'time': 0.2, 'step': 2}
    write(
        tmp_path / '20260101_000000', step(1, 8.0), step(1, 6.0), step(2, 4.0), validation
    )
    curves = read_curves(str(tmp_path))
    assert set(curves) == {'loss', 'loss_raw', 'accuracy/top1'}
    assert curve(curves, 'loss') == [[1, 2], [7.0, 4.0]]
    assert curve(curves, 'loss_raw') == [[1, 2], [3.5, 2.0]]
    assert curve(curves, 'accuracy/top1') == [[2], [50.0]]


def test_resumed(tmp_path):
    """After a kill in the middle of a line, epoch 3 was done again, and another one."""
    first = [step(1, 8.0), step(2, 6.0), step(3, 100.0), {'accuracy/top1': 10.0, 'step': 3}]
    write(tmp_path / '20260101_000000', *first, end='{"lr": 0.1, "lo')
    write(tmp_path / '20260101_010000', step(3, 5.0), step(4, 4.0))
    curves = read_curves(str(tmp_path))
    assert curve(curves, 'loss') == [[1, 2, 3, 4], [8.0, 6.0, 5.0, 4.0]]
    assert 'accuracy/top1' not in curves


def test_resumed_for_a_validation(tmp_path):
    """The losses of its epoch stay; what it measures takes the place of what was."""
    old, new = ({'accuracy/top1': value, 'step': 3} for value in (10.0, 20.0))
    write(tmp_path / '20260101_000000', step(2, 6.0), step(3, 5.0), old)
    write(tmp_path / '20260101_010000', new, step(4, 4.0))
    curves = read_curves(str(tmp_path))
    assert curve(curves, 'loss') == [[2, 3, 4], [6.0, 5.0, 4.0]]
    assert curve(curves, 'accuracy/top1') == [[3], [20.0]]


def test_iterations(tmp_path):
    entries = [dict(lr=0.1, loss=2.0, iter=10, step=10), {'accuracy/top1': 5.0, 'step': 10}]
    write(tmp_path / '20260101_000000', *entries)
    assert curve(read_curves(str(tmp_path)), 'loss') == [[10], [2.0]]


def test_no_log(tmp_path):
    assert read_curves(str(tmp_path)) == {}
