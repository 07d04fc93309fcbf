import pytest
from mmpretrain.registry import DATASETS

from tools.make_minibirds import make_minibirds


@pytest.fixture
def root(tmp_path):
    make_minibirds(tmp_path, classes=3, train=4, test=2, size=64, seed=0)
    return tmp_path


def build(root, **options):
    return DATASETS.build(dict(type='CUBWithBoxes', data_root=str(root), **options))


def test_subset_with_its_own_classes_and_boxes(root):
    train, test = build(root), build(root, split='test')
    assert train.metainfo['classes'] == test.metainfo['classes']
    assert train.metainfo['classes'] == (
        '001.Plain_Minibird',
        '002.Black_capped_Minibird',
        '003.White_barred_Minibird',
    )
    assert len(train) == 12 and len(test) == 6
    assert [test.get_data_info(i)['gt_label'] for i in range(6)] == [0, 0, 1, 1, 2, 2]
    lines = (root / 'bounding_boxes.txt').read_text().splitlines()
    names = (root / 'images.txt').read_text().splitlines()
    for split in (train, test):
        for i in range(len(split)):
            info = split.get_data_info(i)
            (index,) = [k for k, name in enumerate(names) if info['img_path'].endswith(
                name.split()[1])]  # fmt: skip
            x, y, width, height = map(float, lines[index].split()[1:])
            assert info['object_box'] == [x, y, x + width, y + height]


def test_visible_parts(root):
    """Those inside the box of a bird; none where the folder has no such file."""
    file = root / 'parts' / 'part_locs.txt'
    first, *others = file.read_text().splitlines()
    file.write_text('\n'.join([f'{first[:-1]}0', *others]))
    for split in (build(root), build(root, split='test')):
        for i in range(len(split)):
            info = split.get_data_info(i)
            is_first = info['img_path'].endswith('Plain_Minibird_0001.jpg')
            assert len(info['object_parts']) == (9 if is_first else 10)
            x1, y1, x2, y2 = info['object_box']
            assert all(x1 <= x <= x2 and y1 <= y <= y2 for x, y in info['object_parts'])
    file.unlink()
    assert 'object_parts' not in build(root).get_data_info(0)


@pytest.mark.parametrize(
    'name', ['images.txt', 'classes.txt', 'bounding_boxes.txt', 'train_test_split.txt']
)
def test_missing_file(root, name):
    (root / name).unlink()
    with pytest.raises(FileNotFoundError) as error:
        build(root)
    message = str(error.value)
    assert str(root) in message and 'data_root=' in message
    (line,) = [line for line in message.splitlines() if 'MISSING' in line]
    assert line.split()[0] == name


def test_spoilt_boxes(root):
    file = root / 'bounding_boxes.txt'
    lines = file.read_text().splitlines()
    file.write_text('\n'.join([*lines[:2], '3 1.0 2.0', *lines[3:]]) + '\n')
    with pytest.raises(ValueError, match="bounding_boxes.txt, line 3: '3 1.0 2.0'"):
        build(root)
    file.write_text('\n'.join([*lines[:2], *lines[3:], '']) + '\n')
    with pytest.raises(ValueError, match='bounding_boxes.txt has no box of image 3'):
        build(root)


def infos(dataset):
    classes = dataset.metainfo['classes']
    return [
        (info['img_path'], classes[info['gt_label']], info['object_box'])
        for info in map(dataset.get_data_info, range(len(dataset)))
    ]


def test_byte_order_marks(root):
    """As Windows' editors write them, with empty lines at the end."""
    expected = infos(build(root))
    for file in root.glob('*.txt'):
        file.write_text(file.read_text() + '\n\n', encoding='utf-8-sig')
    assert infos(build(root)) == expected


def test_other_encoding(root):
    file = root / 'classes.txt'
    file.write_text(file.read_text(), encoding='utf-16')
    with pytest.raises(ValueError, match=f'{file} is not a text file in UTF-8'):
        build(root)


def test_names_with_white_space(root):
    (root / 'images' / '001.Plain_Minibird' / 'my bird.jpg').touch()
    file = root / 'images.txt'
    first, *others = file.read_text().splitlines()
    file.write_text('\n'.join(['1 001.Plain_Minibird/my bird.jpg', *others]))
    assert infos(build(root))[0][0].endswith('/001.Plain_Minibird/my bird.jpg')


def test_classes_in_another_order(root):
    names = build(root).metainfo['classes']
    dataset = build(root, classes=names[::-1])
    assert dataset.metainfo['classes'] == names[::-1]
    assert infos(dataset) == infos(build(root))
    with pytest.raises(ValueError, match='Not there: Jay. Not given: 003.White'):
        build(root, classes=[*names[:2], 'Jay'])


def test_numbers_of_the_classes(root):
    """Of a subset that keeps them, in any order of the lines."""
    expected = infos(build(root))
    for name in ('classes.txt', 'image_class_labels.txt'):
        pairs = [line.split() for line in (root / name).read_text().splitlines()]
        if name == 'classes.txt':
            pairs = [(10 * int(number), text) for number, text in pairs][::-1]
        else:
            pairs = [(number, 10 * int(label)) for number, label in pairs]
        (root / name).write_text(''.join(f'{a} {b}\n' for a, b in pairs))
    dataset = build(root)
    assert [name[:3] for name in dataset.metainfo['classes']] == ['003', '002', '001']
    assert infos(dataset) == expected
    (root / 'classes.txt').write_text('20 wren\n30 jay\n')
    with pytest.raises(ValueError, match='classes.txt has no class 10, which .* image 1'):
        build(root)


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match='does not exist'):
        build(tmp_path / 'nowhere')


def test_wrong_split(root):
    with pytest.raises(ValueError, match='val'):
        build(root, split='val')


def test_real_birds(reference):
    root = reference / 'data' / 'cub20'
    train, test = build(root), build(root, split='test')
    assert (len(train), len(test)) == (600, 518)
    assert len(train.metainfo['classes']) == 20
    assert train.metainfo['classes'][0] == '001.Black_footed_Albatross'
    # Image 1 is the first test image.
    assert test.get_data_info(0)['object_box'] == [60, 27, 385, 331]
