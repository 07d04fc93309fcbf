import shutil

import mat4py
import numpy as np
import pytest
from helpers import MINIBIRDS_CONFIG, TINY, run_python
from PIL import Image


def check(config, root, *options):
    return run_python(
        'tools/check_dataset.py', config, '--cfg-options', f'data_root={root}', *options
    )


def last_line(done):
    return done.stdout.splitlines()[-1]


def problem(done):
    """The only problem that was found."""
    assert done.returncode == 1, done.stdout + done.stderr[-3000:]
    assert 'Traceback' not in done.stderr
    assert last_line(done) == 'Not ready for training. Problems, listed above: 1.'
    (text,) = done.stdout.split('PROBLEM: ')[1:]
    return text


@pytest.fixture
def root(minibirds, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(minibirds, tmp_path / 'minibirds')


def images(root, split):
    """The images of a split."""
    flag = '1' if split == 'train' else '0'
    pairs = (line.split() for line in (root / 'train_test_split.txt').open())
    numbers = [number for number, training in pairs if training == flag]
    names = dict(line.split() for line in (root / 'images.txt').open())
    return [root / 'images' / names[number] for number in numbers]


def test_good_data(minibirds):
    done = check(MINIBIRDS_CONFIG, minibirds, *TINY)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert last_line(done) == 'All is well: the data are ready for training.'
    assert 'train: 18 images, 6 classes' in done.stdout
    assert 'val and test: 12 images, 6 classes' in done.stdout
    # It is in the layout of CUB-200-2011, but not the complete data set.
    assert done.stdout.count('a subset or other data: the official CUB-200-2011 has') == 2
    assert f'{minibirds}/\n' in done.stdout
    assert '18 of 18 images found' in done.stdout


def test_wrong_number_of_classes(minibirds):
    text = problem(check(MINIBIRDS_CONFIG, minibirds, *TINY, 'model.head.num_classes=5'))
    assert str(minibirds) in text and 'model.head.num_classes=6' in text


def test_missing_root(tmp_path):
    text = problem(check(MINIBIRDS_CONFIG, tmp_path / 'nowhere', *TINY))
    assert f'{tmp_path}/nowhere/' in text and 'classes.txt' in text


def test_missing_and_broken_images(root):
    missing, truncated, other, empty = images(root, 'train')[:4]
    missing.unlink()
    truncated.write_bytes(truncated.read_bytes()[:-200])
    other.write_bytes(b'<html>Not found</html>')
    empty.write_bytes(b'')
    done = check(MINIBIRDS_CONFIG, root, *TINY)
    first, *others = problem(done).strip().splitlines()
    assert first == 'train: 4 of 18 images cannot be read:'
    others = others[:4]
    assert others[0] == f'    {missing}: missing'
    for line, path in zip(others[1:], (truncated, other, empty)):
        assert line.startswith(f'    {path}: ')
    assert 'truncated' in others[1]
    assert '17 of 18 images found' in done.stdout
    assert '12 of 12 images found' in done.stdout


def test_images_in_both_splits(root):
    """The bytes of one, the path of another."""
    train, listed_twice = images(root, 'train')[:2]
    test = images(root, 'test')[0]
    shutil.copy(train, test)
    entries = {
        'images': listed_twice.relative_to(root / 'images'),
        'image_class_labels': '1',
        'train_test_split': '0',
        'bounding_boxes': '1.0 1.0 9.0 9.0',
    }
    for name, entry in entries.items():
        with (root / f'{name}.txt').open('a') as file:
            file.write(f'31 {entry}\n')
    lines = problem(check(MINIBIRDS_CONFIG, root, *TINY)).splitlines()
    assert lines[:3] == [
        'val and test: 2 of 13 images are in train as well:',
        f'    {test} has the same content as {train}',
        f'    {listed_twice}',
    ]


def test_label_without_a_name(root):
    """A device assert in training."""
    file = root / 'image_class_labels.txt'
    first, *others = file.read_text().splitlines()
    file.write_text('\n'.join([f'{first.split()[0]} 7', *others]) + '\n')
    assert 'classes [6]' in problem(check(MINIBIRDS_CONFIG, root, *TINY))


@pytest.fixture
def folders(tmp_path):
    """Own pictures: three classes, of which one has no picture for training."""
    random = np.random.default_rng(0)
    for split, name in [
        (split, name) for split in ('train', 'val') for name in ('jay', 'owl', 'wren')
    ]:
        (tmp_path / split / name).mkdir(parents=True)
        if (split, name) != ('train', 'owl'):
            pixels = random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / split / name / 'a.png')
    return tmp_path


FOLDER_CONFIG = 'configs/apcnn_r50_folder.py'


def test_own_folders(folders):
    options = ('model.head.num_classes=3', 'train_dataloader.batch_size=2')
    done = check(FOLDER_CONFIG, folders, *options)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert 'classes without training images: 1\n    owl\n' in done.stdout
    assert 'official' not in done.stdout


def test_fewer_images_than_a_batch(folders):
    """Training would drop the only batch, and train nothing."""
    text = problem(check(FOLDER_CONFIG, folders, 'model.head.num_classes=3'))
    assert 'has 2 images' in text and 'batch of 16' in text
    options = ('model.head.num_classes=3', 'train_dataloader.batch_size=1')
    assert 'batch of one' in problem(check(FOLDER_CONFIG, folders, *options))


def test_different_class_folders(folders):
    (folders / 'val' / 'crow').mkdir()
    options = ('model.head.num_classes=3', 'train_dataloader.batch_size=2')
    text = problem(check(FOLDER_CONFIG, folders, *options))
    assert f'{folders}/val' in text and 'crow' in text


@pytest.mark.parametrize('cropped', [True, False])
def test_cars_cropped_to_their_boxes(tmp_path, cropped):
    random = np.random.default_rng(0)
    (tmp_path / 'car_ims').mkdir()
    names = [f'car_ims/{i:06}.jpg' for i in range(1, 5)]
    # One car fills its image; nothing is wrong with that.
    boxes = [(11, 21, 60, 50), (5, 1, 40, 40), (1, 1, 100, 80), (30, 30, 90, 70)]
    for name, (x1, y1, x2, y2) in zip(names, boxes):
        pixels = random.integers(0, 255, (80, 100, 3), dtype=np.uint8)
        if cropped:
            pixels = pixels[y1 - 1 : y2, x1 - 1 : x2]
        Image.fromarray(pixels).save(tmp_path / name)
    sides = {f'bbox_{s}': list(v) for s, v in zip(('x1', 'y1', 'x2', 'y2'), zip(*boxes))}
    mat4py.savemat(
        str(tmp_path / 'cars_annos.mat'),
        {
            'annotations': {
                'relative_im_path': names,
                **sides,
                'class': [1, 2, 3, 4],
                'test': [0, 0, 0, 1],
            }
        },
    )
    done = check('configs/apcnn_r50_cars.py', tmp_path, 'train_dataloader.batch_size=3')
    assert 'the official Stanford Cars has 8144 images, 196 classes' in done.stdout
    if not cropped:
        assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    else:
        assert done.returncode == 1
        assert 'train: in 3 of 3 images' in done.stdout
        assert 'original images' in done.stdout and str(tmp_path) in done.stdout


def test_real_birds(reference):
    done = check(
        'configs/apcnn_r50_cub.py', reference / 'data/cub20', 'model.head.num_classes=20'
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert 'train: 600 images, 20 classes' in done.stdout
