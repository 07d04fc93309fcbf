import os
import shutil
from types import SimpleNamespace

import mat4py
import numpy as np
import pytest
from helpers import MINIBIRDS_CONFIG, REPO
from mmpretrain.registry import TRANSFORMS
from PIL import Image, PngImagePlugin

from apcnn_mm.datasets.check import check_classes, check_datasets
from apcnn_mm.datasets.splits import Split, open_picture
from apcnn_mm.launch import load_config

BIRDS = {'model.head.num_classes': 6, 'train_dataloader.batch_size': 4}
FOLDERS = {'model.head.num_classes': 3, 'train_dataloader.batch_size': 2}
FOLDER_CONFIG = 'configs/apcnn_r50_folder.py'
CARS_CONFIG = 'configs/apcnn_r50_cars.py'


def check(config, root, options):
    """The report and the problems."""
    cfg = load_config(str(REPO / config), {'data_root': str(root), **options})
    return check_datasets(cfg)


def problem(config, root, options):
    """The only problem that is found."""
    (text,) = check(config, root, options)[1]
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
    report, problems = check(MINIBIRDS_CONFIG, minibirds, BIRDS)
    assert not problems
    assert 'train: 18 images, 6 classes' in report
    assert 'val and test: 12 images, 6 classes' in report
    # It is in the layout of CUB-200-2011, but not the complete data set.
    assert report.count('a subset or other data: the official CUB-200-2011 has') == 2
    assert f'{minibirds}/\n' in report
    assert '18 of 18 images found' in report


def test_wrong_number_of_classes(minibirds):
    options = {**BIRDS, 'model.head.num_classes': 5}
    text = problem(MINIBIRDS_CONFIG, minibirds, options)
    assert str(minibirds) in text and 'model.head.num_classes=6' in text


def test_no_original_pictures(minibirds):
    options = {**BIRDS, 'model.refine_at': 'original'}
    _, problems = check(MINIBIRDS_CONFIG, minibirds, options)
    assert len(problems) == 2  # of training, and of validation and test
    for text in problems:
        assert 'keeps no original pictures' in text and 'algorithm_keys' in text


def test_missing_root(tmp_path):
    text = problem(MINIBIRDS_CONFIG, tmp_path / 'nowhere', BIRDS)
    assert f'{tmp_path}/nowhere/' in text and 'classes.txt' in text


def test_root_beside_the_right_one(root):
    """One level too high, or too low."""
    for wrong in (root.parent, root / 'images'):
        text = problem(MINIBIRDS_CONFIG, wrong, BIRDS)
        assert f'This folder fits: {root}\n' in text


def test_missing_and_broken_images(root):
    missing, truncated, other, empty, pipe, circle, folder = images(root, 'train')[:7]
    truncated.write_bytes(truncated.read_bytes()[:-200])
    other.write_bytes(b'<html>Not found</html>')
    empty.write_bytes(b'')
    for path in (missing, pipe, circle, folder):
        path.unlink()
    os.mkfifo(pipe)
    circle.symlink_to(circle)
    folder.mkdir()
    report, (text,) = check(MINIBIRDS_CONFIG, root, BIRDS)
    first, *others = text.splitlines()
    assert first == 'train: 7 of 18 images cannot be read:'
    assert others[0] == f'    {missing}: missing'
    words = ('truncated', 'not an image', 'empty', 'pipe', 'symbolic', 'folder')
    paths = (truncated, other, empty, pipe, circle, folder)
    for line, path, word in zip(others[1:], paths, words):
        assert str(path) in line and word in line
    assert '17 of 18 images found' in report
    assert '12 of 12 images found' in report


def test_images_are_opened_as_in_training(root):
    """By the pipeline of each split, with its limit; what Pillow refuses may be good."""
    path = images(root, 'train')[0]
    text = PngImagePlugin.PngInfo()
    text.add_text('comment', 'x' * 3_000_000, zip=True)
    Image.new('RGB', (100, 70)).save(path, 'png', pnginfo=text)
    assert not check(MINIBIRDS_CONFIG, root, BIRDS)[1]
    options = {**BIRDS, 'train_dataloader.dataset.pipeline.0.max_pixels': 6999}
    assert f'{path} has 100 x 70 pixels' in problem(MINIBIRDS_CONFIG, root, options)
    options = {**BIRDS, 'train_dataloader.dataset.pipeline.0.imdecode_backend': 'pillow'}
    assert f'{path} cannot be decoded' in problem(MINIBIRDS_CONFIG, root, options)


@pytest.mark.parametrize('kind', ['LoadImage', 'LoadImageFromFile'])
def test_size_as_training_sees_it(tmp_path, kind):
    """Turned by its EXIF."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (30, 20)).save(tmp_path / 'a.jpg', exif=exif)
    loading = TRANSFORMS.build(dict(type=kind))
    assert open_picture(loading, str(tmp_path / 'a.jpg')).size == (20, 30)


def test_images_in_both_splits(root):
    """The pixels of one, the path of another."""
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
    assert problem(MINIBIRDS_CONFIG, root, BIRDS).splitlines() == [
        'val and test: 2 of 13 images are in train as well:',
        f'    {test} has the same content as {train}',
        f'    {listed_twice}',
    ]


def test_label_without_a_name(root):
    """A device assert in training."""
    file = root / 'image_class_labels.txt'
    first, *others = file.read_text().splitlines()
    file.write_text('\n'.join([f'{first.split()[0]} 7', *others]) + '\n')
    assert 'has no class 7' in problem(MINIBIRDS_CONFIG, root, BIRDS)
    data = SimpleNamespace(metainfo=dict(classes=('jay', 'wren')), data_root=str(root))
    split = Split('train', data, [dict(gt_label=label) for label in (0, 6)])
    (text,) = check_classes(split, None, {})
    assert 'has images of the classes [6], counted from 0' in text


def test_one_class(root):
    (root / 'classes.txt').write_text('1 001.Plain_Minibird\n')
    for name in ('images', 'image_class_labels', 'train_test_split', 'bounding_boxes'):
        file = root / f'{name}.txt'
        file.write_text('\n'.join(file.read_text().splitlines()[:5]) + '\n')
    _, problems = check(MINIBIRDS_CONFIG, root, {'train_dataloader.batch_size': 2})
    assert [text.split(' in ')[0] for text in problems] == ['train', 'val and test']
    assert all('one class only' in text for text in problems)


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


def test_own_folders(folders):
    report, problems = check(FOLDER_CONFIG, folders, FOLDERS)
    assert not problems
    assert 'classes without training images: 1\n    owl' in report
    assert 'official' not in report


def test_fewer_images_than_a_batch(folders):
    """Training would drop the only batch, and train nothing."""
    text = problem(FOLDER_CONFIG, folders, {'model.head.num_classes': 3})
    assert 'has 2 images' in text and 'batch of 16' in text
    options = {**FOLDERS, 'train_dataloader.batch_size': 1}
    assert 'batch of one' in problem(FOLDER_CONFIG, folders, options)


def test_different_class_folders(folders):
    (folders / 'val' / 'crow').mkdir()
    text = problem(FOLDER_CONFIG, folders, FOLDERS)
    assert f'{folders}/val' in text and 'crow' in text


def test_class_folders_without_splits(folders):
    # The folder around it is split already.
    text = problem(FOLDER_CONFIG, folders / 'val', FOLDERS)
    assert f'This folder fits: {folders}\n' in text and 'split_dataset' not in text
    (folders / 'train').rename(folders / 'other')
    text = problem(FOLDER_CONFIG, folders / 'val', FOLDERS)
    assert f"tools/split_dataset.py '{folders}/val' --out" in text


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
    report, problems = check(CARS_CONFIG, tmp_path, {'train_dataloader.batch_size': 3})
    assert 'the official Stanford Cars has 8144 images, 196 classes' in report
    if not cropped:
        assert not problems
    else:
        assert problems[0].startswith('train: in 3 of 3 images')
        assert 'original images' in problems[0] and str(tmp_path) in problems[0]


def test_real_birds(reference):
    options = {'model.head.num_classes': 20}
    report, problems = check('configs/apcnn_r50_cub.py', reference / 'data/cub20', options)
    assert not problems
    assert 'train: 600 images, 20 classes' in report


def test_joined_with_strangers(minibirds, tmp_path):
    """Which have no labels."""
    cfg = load_config(str(REPO / MINIBIRDS_CONFIG), {'data_root': str(minibirds), **BIRDS})
    known = cfg.test_dataloader.dataset
    Image.new('RGB', (80, 80)).save(tmp_path / 'stranger.png')
    strangers = dict(type='Strangers', data_root=str(tmp_path), pipeline=known.pipeline)
    cfg.test_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[known, strangers], ignore_keys='classes'
    )
    report, problems = check_datasets(cfg)
    assert not problems and 'test: 13 images, 6 classes' in report
