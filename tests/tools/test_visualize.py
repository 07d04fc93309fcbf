from helpers import run_python
from PIL import Image


def visualize(trained, out, *options):
    return run_python(
        'tools/visualize.py',
        *(trained.work_dir / 'apcnn_r18_minibirds.py', trained.checkpoint),
        *('--out', out, *options),
    )


def test_one_figure_for_each_class(trained, tmp_path):
    done = visualize(trained, tmp_path, '--classes', 'Plain', 'capped', '--per-class', '2')
    assert done.returncode == 0, done.stderr[-3000:]
    names = sorted(path.name for path in tmp_path.glob('*.png'))
    assert names == ['001.Plain_Minibird.png', '002.Black_capped_Minibird.png']
    for name in names:
        # Four columns: the ROIs and three levels of attention; two rows.
        width, height = Image.open(tmp_path / name).size
        assert 1.2 < width / height < 2


def test_given_images(trained, tmp_path):
    images = sorted(trained.data_root.glob('images/*/*.jpg'))[:2]
    done = visualize(trained, tmp_path, '--images', *images)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / 'images.png').is_file()


def test_mistakes(trained, tmp_path):
    done = visualize(trained, tmp_path, '--classes', 'Ostrich')
    assert done.returncode == 1 and "'Ostrich'" in done.stderr
    done = visualize(trained, tmp_path, '--images', tmp_path / 'absent.jpg')
    assert done.returncode == 2 and 'absent.jpg' in done.stderr
