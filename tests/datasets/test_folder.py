import os
import unicodedata
from unittest.mock import patch

import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmpretrain.registry import DATASETS
from PIL import Image


def write_images(root, split, classes):
    for name in classes:
        (root / split / name).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(
                root / split / name / f'{i}.png'
            )


def build(root, split, **options):
    return DATASETS.build(
        dict(type='ClassFolders', data_root=str(root), split=split, **options)
    )


def samples(dataset):
    """The path below the split and the name of the class of each image."""
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    classes = dataset.metainfo['classes']
    return [
        (os.path.relpath(info['img_path'], dataset.img_prefix), classes[info['gt_label']])
        for info in infos
    ]


def build_and_hear(root, split, **options):
    """The data set, and its warnings."""
    with patch.object(MMLogger.get_current_instance(), 'warning') as warning:
        dataset = build(root, split, **options)
    return dataset, [call.args[0] for call in warning.call_args_list]


def test_names_come_from_the_folders(tmp_path):
    for split in ('train', 'val'):
        write_images(tmp_path, split, ['wren', 'jay'])
    train, val = build(tmp_path, 'train'), build(tmp_path, 'val')
    assert train.metainfo['classes'] == val.metainfo['classes'] == ('jay', 'wren')
    assert [train.get_data_info(i)['gt_label'] for i in range(4)] == [0, 0, 1, 1]


def test_different_classes_in_the_splits(tmp_path):
    """Labels would be shifted."""
    write_images(tmp_path, 'train', ['jay', 'owl', 'wren'])
    write_images(tmp_path, 'val', ['jay', 'wren'])
    with pytest.raises(ValueError, match='owl'):
        build(tmp_path, 'val')
    (tmp_path / 'val' / 'owl').mkdir()
    assert build(tmp_path, 'val').get_data_info(3)['gt_label'] == 2


def test_hidden_and_system_files(tmp_path):
    """Skipped at every level, and counted."""
    for split in ('train', 'val'):
        write_images(tmp_path, split, ['jay', 'wren', '.ipynb_checkpoints', '__MACOSX'])
        write_images(tmp_path / split, 'jay', ['.picasaoriginals', '@eaDir', 'deep'])
        write_images(tmp_path / split / 'jay', 'deep', ['@eaDir'])
        for name in ('Thumbs.db', 'jay/._0.png', 'jay/.hidden.png', 'jay/desktop.ini'):
            (tmp_path / split / name).touch()
    dataset, warnings = build_and_hear(tmp_path, 'train')
    assert samples(dataset) == [
        ('jay/0.png', 'jay'),
        ('jay/1.png', 'jay'),
        ('jay/deep/0.png', 'jay'),
        ('jay/deep/1.png', 'jay'),
        ('wren/0.png', 'wren'),
        ('wren/1.png', 'wren'),
    ]
    assert len(warnings) == 1 and f'{tmp_path}/train: 9 hidden' in warnings[0]


def test_nothing_to_warn_of(tmp_path):
    write_images(tmp_path, 'train', ['jay', 'wren'])
    assert build_and_hear(tmp_path, 'train')[1] == []


def test_files_that_are_not_used(tmp_path):
    write_images(tmp_path, 'train', ['jay', 'wren'])
    image = Image.open(tmp_path / 'train' / 'jay' / '0.png')
    image.save(tmp_path / 'train' / 'jay' / 'other.webp')
    image.save(tmp_path / 'train' / 'loose.png')
    (tmp_path / 'train' / 'jay' / 'IMG_1.HEIC').touch()
    (tmp_path / 'train' / 'owl').mkdir()
    dataset, warnings = build_and_hear(tmp_path, 'train')
    assert len(dataset) == 5
    expected = ['1 classes have no images, such as owl', '1 images lie beside', '1 files']
    assert len(warnings) == 3
    assert all(text in warning for text, warning in zip(expected, warnings))
    assert 'loose.png' in warnings[1] and 'IMG_1.HEIC' in warnings[2]


def test_links_and_pipes(tmp_path):
    """Links are followed, but not in circles, and no pipe is opened."""
    write_images(tmp_path, 'train', ['jay', 'wren'])
    write_images(tmp_path, 'elsewhere', ['owl', 'more'])
    train = tmp_path / 'train'
    (train / 'owl').symlink_to(tmp_path / 'elsewhere' / 'owl')
    (train / 'jay' / 'more').symlink_to(tmp_path / 'elsewhere' / 'more')
    (train / 'jay' / 'linked.png').symlink_to(train / 'jay' / '0.png')
    (train / 'jay' / 'folder.jpg').mkdir()
    circles = {'parent': train, 'itself': train / 'jay', 'other': train / 'wren'}
    circles.update(all=tmp_path, slash='/', self_link=train / 'jay' / 'self_link')
    for name, target in circles.items():
        (train / 'jay' / name).symlink_to(target)
    (train / 'jay' / 'lost.jpg').symlink_to('nowhere')
    os.mkfifo(train / 'jay' / 'pipe.jpg')
    dataset, (warning,) = build_and_hear(tmp_path, 'train')
    assert [path for path, _ in samples(dataset)] == [
        'jay/0.png',
        'jay/1.png',
        'jay/linked.png',
        'jay/more/0.png',
        'jay/more/1.png',
        'owl/0.png',
        'owl/1.png',
        'wren/0.png',
        'wren/1.png',
    ]
    assert '9 paths are not what they seem' in warning


@pytest.mark.parametrize('as_file', [False, True])
def test_classes_in_another_order(tmp_path, as_file):
    for split in ('train', 'val'):
        write_images(tmp_path, split, ['jay', 'owl', 'wren'])
    order = ['wren', 'jay', 'owl']
    file = tmp_path / 'classes.txt'
    file.write_text('\n'.join(order) + '\n', encoding='utf-8-sig')
    dataset = build(tmp_path, 'val', classes=str(file) if as_file else order)
    assert dataset.metainfo['classes'] == tuple(order)
    assert samples(dataset) == samples(build(tmp_path, 'val'))
    assert samples(build(tmp_path, 'val', metainfo=dict(classes=order))) == (
        samples(build(tmp_path, 'val'))
    )


@pytest.mark.parametrize(
    'classes, words',
    [
        (['jay', 'owl'], ('Not there: owl', 'Not given: wren')),
        (['jay'], ('Not given: wren',)),
        ([], ('Not given: jay, wren',)),
        (['jay', 'wren', 'wren'], ('3 are given',)),
        ([1, 2], ('classes must be names',)),
    ],
)
def test_other_classes(tmp_path, classes, words):
    write_images(tmp_path, 'train', ['jay', 'wren'])
    with pytest.raises((ValueError, TypeError)) as error:
        build(tmp_path, 'train', classes=classes)
    assert all(word in str(error.value) for word in words)


def test_names_in_another_unicode_form(tmp_path):
    """Some file systems decompose accents."""
    name = 'Grünfink'
    decomposed = unicodedata.normalize('NFD', name)
    write_images(tmp_path, 'train', [name, 'jay'])
    write_images(tmp_path, 'val', [decomposed, 'jay'])
    train, warnings = build_and_hear(tmp_path, 'train')
    assert warnings == []
    val, (warning,) = build_and_hear(tmp_path, 'val')
    assert 'Unicode' in warning and f'{tmp_path}/val' in warning
    assert train.metainfo['classes'] == val.metainfo['classes'] == (name, 'jay')
    assert samples(val)[0] == (f'{decomposed}/0.png', name)
    # As many a class file has it.
    assert samples(build(tmp_path, 'val', classes=['jay', decomposed])) == samples(val)
    write_images(tmp_path, 'train', [decomposed])
    with pytest.raises(ValueError, match=f'{tmp_path}/train.*Unicode'):
        build(tmp_path, 'train')


def test_one_class(tmp_path):
    write_images(tmp_path, 'train', ['jay'])
    with pytest.raises(ValueError, match=f'{tmp_path}/train has 1 class folder'):
        build(tmp_path, 'train')


def test_no_images(tmp_path):
    for name in ('jay', 'wren'):
        (tmp_path / 'train' / name).mkdir(parents=True)
    with pytest.raises(ValueError, match=f'no images in .*{tmp_path}/train'):
        build(tmp_path, 'train')


def test_class_folders_without_a_split(tmp_path):
    """The error names the command that makes one."""
    write_images(tmp_path, 'my birds', ['jay', 'wren'])
    root = tmp_path / 'my birds'
    with pytest.raises(FileNotFoundError) as error:
        build(root, 'train')
    command = f"python tools/split_dataset.py '{root}' --out '{root}_split'"
    assert command in str(error.value)


def test_root_one_level_too_high(tmp_path):
    for split in ('train', 'val'):
        write_images(tmp_path / 'birds', split, ['jay', 'wren'])
    with pytest.raises(FileNotFoundError, match=f'This folder fits: {tmp_path}/birds\n'):
        build(tmp_path, 'val')


@pytest.mark.parametrize('options', [dict(data_root=None), dict(split=3), dict(split='')])
def test_wrong_arguments(tmp_path, options):
    write_images(tmp_path, 'train', ['jay', 'wren'])
    (name,) = options
    config = dict(type='ClassFolders', data_root=str(tmp_path), split='train')
    with pytest.raises(TypeError, match=f'{name} must be'):
        DATASETS.build({**config, **options})


def test_missing_split(tmp_path):
    write_images(tmp_path, 'train', ['jay', 'wren'])
    with pytest.raises(FileNotFoundError, match='val/ +MISSING'):
        build(tmp_path, 'val')
