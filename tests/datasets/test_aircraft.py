import numpy as np
import pytest
import torch
from helpers import REPO
from mmengine.config import Config
from mmpretrain.registry import DATASETS
from PIL import Image

from apcnn_mm.geometry import to_original

# Class, and the first and last pixel of the aircraft, from 1.
AIRCRAFT = {
    '1025794': ('707-320', (3, 144, 998, 431)),
    '0056978': ('F/A-18', (1, 1, 30, 20)),
    '0698580': ('DHC-8-100', (31, 11, 70, 50)),
    '1042824': ('Yak-42', (8, 9, 64, 48)),
}
SPLITS = {
    'train': ['1025794'],
    'val': ['0056978'],
    'trainval': ['1025794', '0056978'],
    'test': ['0698580', '1042824'],
}


@pytest.fixture(params=['data/', ''])
def folder(tmp_path, request):
    folder = tmp_path / request.param
    (folder / 'images').mkdir(parents=True)
    for split, names in SPLITS.items():
        lines = [f'{name} {AIRCRAFT[name][0]}\n' for name in names]
        (folder / f'images_variant_{split}.txt').write_text(''.join(lines))
    lines = [f'{name} {" ".join(map(str, box))}\n' for name, (_, box) in AIRCRAFT.items()]
    (folder / 'images_box.txt').write_text(''.join(lines))
    return folder


def build(root, **options):
    return DATASETS.build(
        dict(type='FGVCAircraftWithBoxes', data_root=str(root), **options)
    )


def test_images_classes_and_boxes(tmp_path, folder):
    # The first pixel is 1 in the file, and its left edge 0 in object_box.
    boxes = {
        '1025794': [2, 143, 998, 431],
        '0056978': [0, 0, 30, 20],
        '0698580': [30, 10, 70, 50],
        '1042824': [7, 8, 64, 48],
    }
    assert len(build(tmp_path)) == 2  # 'trainval', without being asked for
    for split, names in SPLITS.items():
        dataset = build(tmp_path, split=split)
        classes = dataset.metainfo['classes']
        assert len(classes) == 100
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        assert [
            (i['img_path'], classes[i['gt_label']], i['object_box']) for i in infos
        ] == [
            (str(folder / 'images' / f'{name}.jpg'), AIRCRAFT[name][0], boxes[name])
            for name in names
        ]
        assert all(type(side) is float for info in infos for side in info['object_box'])


@pytest.mark.parametrize('name', ['images/', 'images_variant_test.txt', 'images_box.txt'])
def test_missing_file(tmp_path, folder, name):
    path = folder / name
    path.rmdir() if name.endswith('/') else path.unlink()
    with pytest.raises(FileNotFoundError) as error:
        build(tmp_path, split='test')
    message = str(error.value)
    assert str(tmp_path) in message and 'data_root=' in message
    missing = [line.split()[0] for line in message.splitlines() if 'MISSING' in line]
    assert missing[-1] == str(folder / name).replace(f'{tmp_path}/', '') + (
        '/' if name.endswith('/') else ''
    )
    # Without data/, both layouts are shown.
    assert len(missing) == (1 if folder.name == 'data' else 4)


def test_byte_order_marks(tmp_path, folder):
    for file in folder.glob('*.txt'):
        file.write_text(file.read_text(), encoding='utf-8-sig')
    info = build(tmp_path, split='test').get_data_info(0)
    assert info['img_path'] == str(folder / 'images' / '0698580.jpg')
    assert info['object_box'] == [30, 10, 70, 50]


def test_classes_in_another_order(tmp_path, folder):
    names = build(tmp_path).metainfo['classes']
    dataset = build(tmp_path, classes=names[::-1])
    info = dataset.get_data_info(0)
    assert dataset.metainfo['classes'][info['gt_label']] == '707-320'
    with pytest.raises(ValueError, match='Not given'):
        build(tmp_path, classes=names[1:])


def test_spoilt_files(tmp_path, folder):
    boxes = folder / 'images_box.txt'
    text = boxes.read_text()
    boxes.write_text(text.replace('1 1 30 20', '1 1 30'))
    with pytest.raises(ValueError, match=f"{boxes}: '1 1 30', of image 0056978"):
        build(tmp_path)
    boxes.write_text('')
    with pytest.raises(ValueError, match=f'{boxes} has no box of 1025794.jpg'):
        build(tmp_path)
    file = folder / 'images_variant_test.txt'
    file.write_text('0698580 Concorde\n')
    with pytest.raises(ValueError, match=f"{file}: 'Concorde', of image 0698580"):
        build(tmp_path, split='test')


def test_wrong_split(tmp_path, folder):
    with pytest.raises(ValueError, match='validation'):
        build(tmp_path, split='validation')


@pytest.mark.parametrize('backbone', ['r50', 'vgg19'])
def test_config_removes_the_credit_line(tmp_path, folder, backbone):
    """Red at the bottom of the image, a white aircraft on grey above."""
    for name, (_, (x1, y1, x2, y2)) in AIRCRAFT.items():
        image = np.full((100, 120, 3), 90, np.uint8)
        image[y1 - 1 : y2, x1 - 1 : x2] = 255
        image[80:] = (255, 0, 0)
        path = folder / 'images' / f'{name}.jpg'
        Image.fromarray(image).save(path, quality=100, subsampling=0)
    cfg = Config.fromfile(REPO / 'configs' / f'apcnn_{backbone}_aircraft.py')
    for loader, split in (('train', 'trainval'), ('val', 'test'), ('test', 'test')):
        config = cfg[f'{loader}_dataloader'].dataset
        config.data_root = str(tmp_path)
        dataset = DATASETS.build(config)
        assert len(dataset) == len(SPLITS[split])
        assert len(dataset.metainfo['classes']) == cfg.model.head.num_classes
        for i in range(len(dataset)):
            blue, _, red = dataset[i]['inputs'].float()
            assert blue.shape == (448, 448)
            assert (red - blue).max() < 10
    ys, xs = (dataset[0]['inputs'][0] > 172).nonzero().unbind(1)
    found = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float()
    sample = dataset[0]['data_samples']
    torch.testing.assert_close(
        to_original(found, sample), torch.tensor(sample.object_box), rtol=0, atol=1
    )
