import mat4py
import numpy as np
import pytest
from helpers import REPO
from mmengine.config import Config
from mmpretrain.registry import DATASETS
from PIL import Image

# Image, split, class from 1, and the first and last pixel of the car, from 1.
CARS = [
    ('000001.jpg', 'train', 14, (39, 116, 569, 375)),
    ('000002.jpg', 'test', 3, (1, 1, 20, 10)),
    ('000003.jpg', 'train', 196, (85, 7, 601, 380)),
    ('000004.jpg', 'test', 91, (31, 246, 778, 540)),
    ('000005.jpg', 'test', 1, (6, 46, 200, 101)),
]


def annotations(cars, **columns):
    boxes = zip(*[box for *_, box in cars])
    sides = [f'bbox_{side}' for side in ('x1', 'y1', 'x2', 'y2')]
    labels = [label for _, _, label, _ in cars]
    return {
        'annotations': {
            **{side: list(column) for side, column in zip(sides, boxes)},
            'class': labels,
            **columns,
        }
    }


def write_one_folder(root):
    (root / 'car_ims').mkdir()
    mat4py.savemat(
        str(root / 'cars_annos.mat'),
        annotations(
            CARS,
            relative_im_path=[f'car_ims/{name}' for name, *_ in CARS],
            test=[int(split == 'test') for _, split, *_ in CARS],
        ),
    )


def write_two_folders(root):
    (root / 'devkit').mkdir()
    files = dict(train='cars_train_annos.mat', test='cars_test_annos_withlabels.mat')
    for split, file in files.items():
        (root / f'cars_{split}').mkdir()
        cars = [car for car in CARS if car[1] == split]
        mat4py.savemat(
            str(root / 'devkit' / file), annotations(cars, fname=[car[0] for car in cars])
        )


LAYOUTS = {
    'one folder': (write_one_folder, {'train': 'car_ims', 'test': 'car_ims'}),
    'two folders': (write_two_folders, {'train': 'cars_train', 'test': 'cars_test'}),
}


def build(root, **options):
    return DATASETS.build(
        dict(type='StanfordCarsWithBoxes', data_root=str(root), **options)
    )


@pytest.mark.parametrize('layout', LAYOUTS)
def test_images_classes_and_boxes(tmp_path, layout):
    write, folders = LAYOUTS[layout]
    write(tmp_path)
    # The first pixel is 1 in the file, and its left edge 0 in object_box.
    expected = {
        'train': [
            ('000001.jpg', 13, [38, 115, 569, 375]),
            ('000003.jpg', 195, [84, 6, 601, 380]),
        ],
        'test': [
            ('000002.jpg', 2, [0, 0, 20, 10]),
            ('000004.jpg', 90, [30, 245, 778, 540]),
            ('000005.jpg', 0, [5, 45, 200, 101]),
        ],
    }
    assert len(build(tmp_path)) == 2  # the training images, without being asked for
    for split, images in expected.items():
        dataset = build(tmp_path, split=split)
        assert len(dataset.metainfo['classes']) == 196
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        assert [(i['img_path'], i['gt_label'], i['object_box']) for i in infos] == [
            (str(tmp_path / folders[split] / name), label, box)
            for name, label, box in images
        ]
        assert all(type(side) is float for info in infos for side in info['object_box'])


@pytest.mark.parametrize(
    'layout, split, name',
    [
        ('two folders', 'train', 'devkit/cars_train_annos.mat'),
        ('two folders', 'test', 'devkit/cars_test_annos_withlabels.mat'),
        ('two folders', 'test', 'cars_test/'),
        ('one folder', 'train', 'car_ims/'),
    ],
)
def test_missing_file(tmp_path, layout, split, name):
    LAYOUTS[layout][0](tmp_path)
    path = tmp_path / name
    path.rmdir() if name.endswith('/') else path.unlink()
    with pytest.raises(FileNotFoundError) as error:
        build(tmp_path, split=split)
    message = str(error.value)
    assert str(tmp_path) in message and 'data_root=' in message
    missing = [line.split()[0] for line in message.splitlines() if 'MISSING' in line]
    # Both layouts are shown, but where cars_annos.mat has decided for one.
    other = ['cars_annos.mat', 'car_ims/'] if layout == 'two folders' else []
    assert missing == [*other, name]


def test_only_the_own_split_is_needed(tmp_path):
    write_two_folders(tmp_path)
    (tmp_path / 'cars_train').rmdir()
    (tmp_path / 'devkit' / 'cars_train_annos.mat').unlink()
    assert len(build(tmp_path, split='test')) == 3


def test_missing_folder_shows_both_layouts(tmp_path):
    with pytest.raises(FileNotFoundError, match='does not exist') as error:
        build(tmp_path / 'nowhere')
    for name in ('cars_annos.mat', 'car_ims/', 'cars_train/', 'cars_train_annos.mat'):
        assert name in str(error.value)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_classes_in_another_order(tmp_path, layout):
    write, _ = LAYOUTS[layout]
    write(tmp_path)
    names = build(tmp_path).metainfo['classes']
    dataset = build(tmp_path, classes=names[::-1])
    labels = [dataset.get_data_info(i)['gt_label'] for i in range(2)]
    assert [dataset.metainfo['classes'][i] for i in labels] == [names[13], names[195]]
    with pytest.raises(ValueError, match='Not given'):
        build(tmp_path, classes=names[1:])


def test_folder_within_itself(tmp_path):
    """As an archive of the data set unpacks."""
    write_two_folders(tmp_path)
    inner = tmp_path / 'cars_train' / 'cars_train'
    inner.mkdir()
    (inner / '000001.jpg').touch()
    (tmp_path / 'cars_train' / '.DS_Store').touch()
    with pytest.raises(FileNotFoundError, match=f'content lies in {inner}: move it'):
        build(tmp_path)
    (tmp_path / 'cars_train' / '000001.jpg').touch()
    assert len(build(tmp_path)) == 2


def test_annotations_without_classes(tmp_path):
    """Those of the devkit, for the challenge."""
    write_two_folders(tmp_path)
    file = tmp_path / 'devkit' / 'cars_test_annos_withlabels.mat'
    unlabelled = annotations([car for car in CARS if car[1] == 'test'], fname=['a', 'b'])
    del unlabelled['annotations']['class']
    mat4py.savemat(str(file), unlabelled)
    with pytest.raises(ValueError, match=f'{file} has no classes.*_withlabels.mat'):
        build(tmp_path, split='test')


def test_devkit_without_labels(tmp_path):
    """The right file's name is in the error where only the devkit's own is there."""
    write_two_folders(tmp_path)
    devkit = tmp_path / 'devkit'
    right = devkit / 'cars_test_annos_withlabels.mat'
    right.rename(devkit / 'cars_test_annos.mat')
    with pytest.raises(FileNotFoundError, match=f'{right.name} +MISSING'):
        build(tmp_path, split='test')


def test_wrong_split(tmp_path):
    write_one_folder(tmp_path)
    with pytest.raises(ValueError, match="'val'"):
        build(tmp_path, split='val')


@pytest.mark.parametrize('backbone', ['r50', 'vgg19'])
def test_config(tmp_path, backbone):
    write_one_folder(tmp_path)
    for name, *_ in CARS:
        Image.fromarray(np.zeros((60, 90, 3), np.uint8)).save(tmp_path / 'car_ims' / name)
    cfg = Config.fromfile(REPO / 'configs' / f'apcnn_{backbone}_cars.py')
    for loader, length in (('train', 2), ('val', 3), ('test', 3)):
        config = cfg[f'{loader}_dataloader'].dataset
        config.data_root = str(tmp_path)
        dataset = DATASETS.build(config)
        assert len(dataset) == length
        assert len(dataset.metainfo['classes']) == cfg.model.head.num_classes
        sample = dataset[0]
        assert sample['inputs'].shape == (3, 448, 448)
    # The whole image, squashed.
    assert sample['data_samples'].scale_factor == (448 / 90, 448 / 60)
    assert sample['data_samples'].object_box == [0, 0, 20, 10]
