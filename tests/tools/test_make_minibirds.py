import filecmp

import numpy as np
import pytest
from helpers import run_python
from PIL import Image

from tools.make_minibirds import SPECIES, draw_bird


def make(out, *options):
    return run_python('tools/make_minibirds.py', out, *options)


OPTIONS = ('--classes', '4', '--train', '3', '--test', '2', '--size', '96')


def test_same_seed_same_bytes(tmp_path):
    for name, seed in (('a', '1'), ('b', '1'), ('c', '2')):
        assert make(tmp_path / name, *OPTIONS, '--seed', seed).returncode == 0
    files = [p.relative_to(tmp_path / 'a') for p in (tmp_path / 'a').rglob('*.*')]
    files = [str(f) for f in files if (tmp_path / 'a' / f).is_file()]
    assert len([f for f in files if f.endswith('.jpg')]) == 20
    _, other, errors = filecmp.cmpfiles(
        tmp_path / 'a', tmp_path / 'b', files, shallow=False
    )
    assert not other and not errors
    _, other, _ = filecmp.cmpfiles(tmp_path / 'a', tmp_path / 'c', files, shallow=False)
    assert len([f for f in other if f.endswith('.jpg')]) == 20


def test_layout(tmp_path):
    assert make(tmp_path, *OPTIONS).returncode == 0
    lines = {
        name: (tmp_path / f'{name}.txt').read_text().splitlines()
        for name in (
            'images',
            'image_class_labels',
            'train_test_split',
            'bounding_boxes',
            'classes',
            'parts/parts',
            'parts/part_locs',
        )
    }
    assert [len(lines[n]) for n in ('images', 'classes', 'bounding_boxes')] == [20, 4, 20]
    assert sum(line.endswith(' 1') for line in lines['train_test_split']) == 12
    for line in lines['images']:
        assert Image.open(tmp_path / 'images' / line.split()[1]).size == (96, 96)
    boxes = np.array([line.split()[1:] for line in lines['bounding_boxes']], dtype=float)
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= 96).all()
    parts = np.array([line.split() for line in lines['parts/part_locs']], dtype=float)
    assert len(parts) == 20 * len(lines['parts/parts'])
    for number, box in enumerate(boxes):
        places = parts[parts[:, 0] == number + 1][:, 2:4]
        assert (places >= box[:2] - 2).all() and (places <= box[:2] + box[2:] + 2).all()


def test_only_the_part_tells_the_class():
    """The same random numbers give the same picture but for a small part."""
    species = list(SPECIES.values())

    def draw(marks):
        image, box, _ = draw_bird(np.random.default_rng(3), marks, 224)
        return np.asarray(image, dtype=float), box

    plain, (_, _, width, height) = draw(species[0])
    for marks in species[1:]:
        if marks.get('bill', (1.0, None))[0] > 1:
            continue  # a long bill moves the bird, which stays inside the picture
        image, _ = draw(marks)
        changed = (np.abs(image - plain).max(axis=2) > 8).sum()
        assert 0 < changed < 0.1 * width * height


@pytest.mark.parametrize('classes', ['1', '21'])
def test_wrong_number_of_classes(tmp_path, classes):
    done = make(tmp_path, '--classes', classes)
    assert done.returncode == 2 and classes in done.stderr
