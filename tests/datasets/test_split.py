import os
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmpretrain.registry import DATASETS
from PIL import ImageEnhance

from apcnn_mm.datasets.split import difference_hash, group_near, split_folders
from tools.make_minibirds import SPECIES, draw_bird


def bird(seed, species=0):
    marks = list(SPECIES.values())[species]
    return draw_bird(np.random.default_rng(seed), marks, 96)[0]


@pytest.fixture(scope='module')
def birds():
    """Two classes of ten birds; of one of them there are five more pictures."""
    pictures = {
        f'{name}/{i}.png': bird(10 * species + i, species)
        for species, name in enumerate(('jay', 'wren'))
        for i in range(10)
    }
    first = pictures['jay/0.png']
    pictures['jay/copy.png'] = first
    pictures['jay/deep/half.png'] = first.resize((48, 48))
    pictures['jay/deep/small.png'] = first.resize((40, 40))
    pictures['jay/dark.jpg'] = ImageEnhance.Brightness(first).enhance(0.8)
    pictures['jay/cut.jpg'] = first.crop((1, 1, 96, 96))
    return pictures


@pytest.fixture
def root(tmp_path, birds):
    root = tmp_path / 'all pictures'
    for name, picture in birds.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(root / name)
    return root


def tree(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file())


def test_every_picture_is_in_one_split(tmp_path, root):
    out = tmp_path / 'split'
    counts = split_folders(root, out, val=0.2, test=0.1)
    assert sorted(os.listdir(out)) == ['test', 'train', 'val']
    names = [name.split('/', 1)[1] for name in tree(out)]
    assert sorted(names) == tree(root)
    for split, by_class in counts.items():
        for name, number in by_class.items():
            assert len(tree(out / split / name)) == number
    assert counts['val'] == {'jay': 3, 'wren': 2} and counts['test']['wren'] == 1
    for split in counts:
        DATASETS.build(dict(type='ClassFolders', data_root=str(out), split=split))


@pytest.mark.parametrize('seed', range(5))
def test_near_duplicates_stay_together(tmp_path, root, seed):
    split_folders(root, tmp_path / 'out', val=0.4, seed=seed)
    names = ('0.png', 'copy.png', 'deep/half.png', 'deep/small.png', 'dark.jpg', 'cut.jpg')
    splits = {
        split
        for split in ('train', 'val')
        for name in names
        if (tmp_path / 'out' / split / 'jay' / name).exists()
    }
    assert len(splits) == 1


def test_only_near_duplicates_are_near(root):
    paths = tree(root)
    hashes = {path: difference_hash(root / path) for path in paths}
    groups = group_near(paths, hashes)
    assert sorted(map(len, groups)) == [1] * 19 + [6]
    # Like one of the group is enough, and what cannot be read is like nothing.
    bits = np.zeros((3, 256), bool)
    bits[1, :30] = bits[2, :60] = True
    hashes = dict(zip('abc', bits), d=None, e=None)
    assert group_near(list('abcde'), hashes) == [['a', 'b', 'c'], ['d'], ['e']]


def test_seed(tmp_path, root):
    for out, seed in (('a', 1), ('b', 1), ('c', 2)):
        split_folders(root, tmp_path / out, seed=seed)
    assert tree(tmp_path / 'a') == tree(tmp_path / 'b') != tree(tmp_path / 'c')


def test_links_and_copies(tmp_path, root):
    """Nothing happens to the originals, and nothing to the links without them."""
    (root / 'jay' / 'link.png').symlink_to('1.png')
    before = {name: (root / name).read_bytes() for name in tree(root)}
    for out, copy in (('links', False), ('copies', True)):
        split_folders(root, tmp_path / out, copy=copy)
        for name in tree(tmp_path / out):
            path, original = tmp_path / out / name, root / name.split('/', 1)[1]
            assert not path.is_symlink() and path.samefile(original) != copy
            assert path.read_bytes() == original.read_bytes()
    assert {name: (root / name).read_bytes() for name in tree(root)} == before
    root.rename(tmp_path / 'elsewhere')
    assert all(len((tmp_path / 'links' / n).read_bytes()) for n in tree(tmp_path / 'links'))


def test_file_systems_without_hard_links(tmp_path, root, monkeypatch):
    monkeypatch.setattr(os, 'link', lambda *args: exec('raise OSError'))
    split_folders(root, tmp_path / 'out')
    for name in tree(tmp_path / 'out'):
        path = tmp_path / 'out' / name
        assert Path(os.readlink(path)) == root / name.split('/', 1)[1]


def test_a_run_that_is_stopped_leaves_nothing(tmp_path, root, monkeypatch):
    calls = []

    def link(source, target, real=os.link):
        calls.append(source)
        if len(calls) == 5:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, 'link', link)
    with pytest.raises(KeyboardInterrupt):
        split_folders(root, tmp_path / 'out')
    assert os.listdir(tmp_path) == ['all pictures']
    monkeypatch.undo()
    (tmp_path / 'out').mkdir()  # empty
    split_folders(root, tmp_path / 'out')


def test_small_and_spoilt_classes(tmp_path):
    """One for training at least; broken files are split like others."""
    root = tmp_path / 'root'
    for name in ('one', 'two', 'same', 'owl', '.hidden'):
        (root / name).mkdir(parents=True)
    bird(0).save(root / 'one' / 'a.png')
    bird(1).save(root / 'two' / 'a.png')
    (root / 'two' / 'b.png').write_bytes(b'broken')
    for i in range(5):
        bird(2).save(root / 'same' / f'{i}.png')
    os.mkfifo(root / 'two' / 'pipe.png')
    bird(3).save(root / 'loose.png')
    (root / 'owl' / 'IMG_1.HEIC').touch()
    with patch.object(MMLogger.get_current_instance(), 'warning') as warning:
        counts = split_folders(root, tmp_path / 'out')
    assert counts == {
        'train': {'one': 1, 'same': 5, 'two': 1},
        'val': {'one': 0, 'same': 0, 'two': 1},
    }
    warnings = ''.join(call.args[0] for call in warning.call_args_list)
    for text in (
        '1 folders have no images and are left out, such as owl',
        '1 images lie beside',
        'such as owl/IMG_1.HEIC',
        'such as two/pipe.png',
        'such as .hidden',
    ):
        assert text in warnings
    # Classes without pictures keep their folders.
    assert sorted(os.listdir(tmp_path / 'out' / 'val')) == ['one', 'same', 'two']


def test_what_cannot_be_split(tmp_path, root):
    full = tmp_path / 'full'
    full.mkdir()
    (full / 'mine.txt').touch()
    cases = [
        (root, full, {}, f'{full} is there already'),
        (root, root / 'jay' / 'split', {}, f'lies in {root}'),
        (root / 'jay', tmp_path / 'out', {}, 'two or more'),
        (tmp_path / 'nowhere', tmp_path / 'out', {}, f'no folder {tmp_path}/nowhere'),
        (root, tmp_path / 'out', dict(val=0.0), 'val must be above 0'),
        (root, tmp_path / 'out', dict(val=0.5, test=0.5), 'below 1'),
        (root, tmp_path / 'out', dict(seed='1'), 'seed must be'),
    ]
    for source, out, options, message in cases:
        with pytest.raises((ValueError, FileNotFoundError, TypeError), match=message):
            split_folders(source, out, **options)
    assert not (tmp_path / 'out').exists() and os.listdir(full) == ['mine.txt']
    (root / 'train' / 'jay').mkdir(parents=True)
    with pytest.raises(ValueError, match='is split already'):
        split_folders(root, tmp_path / 'out')


def test_trains_are_a_class(tmp_path, root):
    (root / 'jay').rename(root / 'train')
    counts = split_folders(root, tmp_path / 'out')
    assert counts['train'].keys() == {'train', 'wren'}
