import runpy
import shutil
import sys
from functools import partial

import mmengine
import pytest

import apcnn_mm
from tools import report as script
from tools import test as test_script


@pytest.fixture
def report(run_main, trained, tmp_path):
    config = trained.work_dir / 'apcnn_r18_minibirds.py'
    command = (script, config, trained.checkpoint, '--num-workers', '0')
    return partial(run_main, *command, '--out', tmp_path / 'report')


def test_report_of_a_training(report, run_main, trained, tmp_path):
    """With the results of test.py, the curves of the log and the labels."""
    done = report('--labels')
    assert done.returncode == 0, done.stderr[-3000:]
    folder = tmp_path / 'report'
    assert f'Open {folder / "index.html"}' in done.stdout
    trained_files = f'{trained.work_dir}/apcnn_r18_minibirds.py {trained.checkpoint}'
    calibrated = trained.work_dir / 'calibrated.pth'
    assert done.stdout.endswith(
        f'Next:\n    python tools/calibrate.py {trained_files} --out {calibrated}\n'
    )
    assert {path.name for path in tmp_path.iterdir()} == {'report'}
    assert {path.name for path in folder.iterdir()} == script.PAGES
    out = tmp_path / 'metrics.json'
    tested = run_main(
        *(test_script, trained.work_dir / 'apcnn_r18_minibirds.py', trained.checkpoint),
        *('--work-dir', tmp_path, '--out', out, '--out-item', 'metrics'),
    )
    assert tested.returncode == 0, tested.stderr[-3000:]
    metrics = mmengine.load(out)
    page = (folder / 'index.html').read_text()
    assert f'id="accuracy">{metrics["accuracy/top1"]:.1f} %<' in page
    for name in ('mIoU', 'random_mIoU', 'skill'):
        value = metrics[f'localization/{name}']
        assert f'<td>{name}</td><td class="number">{value:.1f}</td>' in page
    assert 'pictures/training.svg' in page and 'accuracy/top1' in page
    for name in ('both stages are right', 'labels.html', str(trained.checkpoint)):
        assert name in page
    labels = (folder / 'labels.html').read_text()
    assert 'Of 18 training pictures' in labels and 'among\n18 of train' in labels


def test_again_and_on_a_folder(report, minibirds, tmp_path):
    """The pages of before are replaced; a picture that is none is told."""
    images = tmp_path / 'images'
    name = '002.Black_capped_Minibird'
    shutil.copytree(minibirds / 'images' / name, images / name)
    (images / name / 'broken.jpg').write_text('no picture')
    (tmp_path / 'report' / 'pictures').mkdir(parents=True)
    (tmp_path / 'report' / 'pictures' / 'old.jpg').touch()
    (tmp_path / 'report' / 'labels.html').touch()
    (tmp_path / 'report' / '.DS_Store').touch()  # by those who looked at them
    done = report('--images', images)
    assert done.returncode == 0, done.stderr[-3000:]
    folder = tmp_path / 'report'
    assert not (folder / 'labels.html').exists()
    assert not (folder / 'pictures' / 'old.jpg').exists()
    page = (folder / 'index.html').read_text()
    assert 'of 5 pictures' in page and 'broken.jpg' in page
    assert 'id="localization"' not in page


def test_mistakes(report, minibirds, tmp_path):
    """Told before anything is predicted or removed."""
    done = report('--images', minibirds)
    assert done.returncode == 1 and 'the classes of the model are' in done.stderr
    done = report('--images', tmp_path / 'absent')
    assert done.returncode == 1 and 'There is no folder' in done.stderr
    done = report('--folds', tmp_path)
    assert done.returncode == 2 and '--folds needs --labels' in done.stderr
    done = report('--labels', '--folds', tmp_path)
    assert done.returncode == 1 and 'fold0 is no finished fold' in done.stderr
    done = report('--batch-size', '0')
    assert done.returncode == 2 and '--batch-size' in done.stderr
    assert not list(tmp_path.iterdir())
    (tmp_path / 'report').mkdir()
    (tmp_path / 'report' / 'thesis.tex').touch()
    done = report()
    assert done.returncode == 2 and 'such as thesis.tex' in done.stderr
    done = report('--out', '/')
    assert done.returncode == 2 and '/ is a mounted folder' in done.stderr
    (tmp_path / 'file').touch()
    done = report('--out', tmp_path / 'file')
    assert done.returncode == 2 and 'is a file' in done.stderr
    done = report('--out', tmp_path / 'file' / 'report')
    assert done.returncode == 1 and 'cannot be written' in done.stderr


def test_folds(report, folds, tmp_path):
    done = report('--labels', '--folds', folds)
    assert done.returncode == 0, done.stderr[-3000:]
    page = (tmp_path / 'report/labels.html').read_text()
    assert 'cross-validation with 3 models' in page and 'Of 18 training' in page


def test_a_missing_package(monkeypatch):
    """What to install is told."""
    monkeypatch.setitem(sys.modules, 'jinja2', None)
    monkeypatch.delattr(apcnn_mm, 'analysis')
    for name in [name for name in sys.modules if name.startswith('apcnn_mm.analysis')]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit, match='pip install scikit-learn scipy jinja2'):
        runpy.run_path(script.__file__)
