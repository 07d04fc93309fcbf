from functools import partial

import pytest
from PIL import Image

from tools import visualize as script


@pytest.fixture
def visualize(run_main, trained, tmp_path):
    config = trained.work_dir / 'apcnn_r18_minibirds.py'
    return partial(run_main, script, config, trained.checkpoint, '--out', tmp_path)


def test_one_figure_for_each_class(visualize, tmp_path):
    done = visualize('--classes', 'Plain', 'capped', '--per-class', '2')
    assert done.returncode == 0, done.stderr[-3000:]
    names = sorted(path.name for path in tmp_path.glob('*.png'))
    assert names == ['001.Plain_Minibird.png', '002.Black_capped_Minibird.png']
    for name in names:
        # Four columns: the ROIs and three levels of attention; two rows.
        width, height = Image.open(tmp_path / name).size
        assert 1.2 < width / height < 2


def test_given_images(visualize, trained, tmp_path):
    images = sorted(trained.data_root.glob('images/*/*.jpg'))[:2]
    done = visualize('--images', *images)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / 'images.png').is_file()


def test_mistakes(visualize, tmp_path):
    done = visualize('--classes', 'Ostrich')
    assert done.returncode == 1 and "'Ostrich'" in done.stderr
    done = visualize('--images', tmp_path / 'absent.jpg')
    assert done.returncode == 2 and 'absent.jpg' in done.stderr
    done = visualize('--out', __file__)
    assert done.returncode == 2 and '--out: ' in done.stderr
