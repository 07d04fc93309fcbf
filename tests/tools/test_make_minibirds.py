import filecmp
from pathlib import Path

import numpy as np
import pytest
from mmpretrain.registry import DATASETS
from PIL import Image

from apcnn_mm.taxonomy import read_taxonomy
from tools import make_minibirds as tool
from tools.make_minibirds import SPECIES, draw_bird, make_minibirds

OPTIONS = dict(classes=4, train=3, test=2, size=96)


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob('*')
        if path.is_file()
    }


def test_command(run_main, tmp_path):
    options = (word for k, v in OPTIONS.items() for word in (f'--{k}', v))
    done = run_main(tool, tmp_path / 'a', *options)
    assert done.returncode == 0, done.stderr
    assert '4 species, 12 training and 8 test images' in done.stdout
    make_minibirds(tmp_path / 'b', seed=0, **OPTIONS)
    assert contents(tmp_path / 'a') == contents(tmp_path / 'b')


def test_same_seed_same_bytes(tmp_path):
    for name, seed in (('a', 1), ('b', 1), ('c', 2)):
        make_minibirds(tmp_path / name, seed=seed, **OPTIONS)
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
    make_minibirds(tmp_path, seed=0, **OPTIONS)
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


def test_bird_size():
    """Small birds, in a picture of the same size."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        image, (x, y, width, height), parts = draw_bird(rng, {}, 256, (0.1, 0.2))
        assert image.size == (256, 256)
        # The body is 1.2 to 1.6 lengths with bill and tail.
        assert 0.1 * 256 < max(width, height) < 1.7 * 0.2 * 256
        assert ([x, y] < parts).all() and (parts < [x + width, y + height]).all()


@pytest.mark.parametrize(
    'sizes', [('0.2', '0.1'), ('0.01', '0.1'), ('0.5', '0.8'), ('nan', '0.1')]
)
def test_wrong_bird_sizes(tmp_path, sizes, monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['tool', str(tmp_path), '--bird-size', *sizes])
    with pytest.raises(SystemExit):
        tool.parse_args()
    assert f'not {sizes[0]} {sizes[1]}' in capsys.readouterr().err


@pytest.mark.parametrize(
    'option', [('--classes', '1'), ('--classes', '21'), ('--test', '0'), ('--size', '3')]
)
def test_wrong_numbers(tmp_path, option, monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['make_minibirds.py', str(tmp_path), *option])
    with pytest.raises(SystemExit):
        tool.parse_args()
    assert f'not {option[1]}' in capsys.readouterr().err


def test_smaller_over_larger(tmp_path):
    """Nothing is left of the larger one, whatever state it is in."""
    make_minibirds(tmp_path / 'large', seed=0, **OPTIONS)
    (tmp_path / 'large' / 'classes.txt').unlink()
    small = dict(classes=2, train=2, test=1, size=64, seed=1)
    for name in ('large', 'new'):
        make_minibirds(tmp_path / name, **small)
    assert contents(tmp_path / 'large') == contents(tmp_path / 'new')


def test_other_folders_are_left_alone(tmp_path, monkeypatch):
    make_minibirds(tmp_path, seed=0, **OPTIONS)
    (tmp_path / 'images' / '001.Black_footed_Albatross').mkdir()
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match='Albatross'):
        make_minibirds(tmp_path, seed=0, **OPTIONS)
    assert contents(tmp_path) == before
    monkeypatch.setattr('sys.argv', ['make_minibirds.py', str(tmp_path)])
    with pytest.raises(SystemExit, match='Choose another folder'):
        tool.main()


@pytest.mark.parametrize('what', ['draw_bird', 'unlink', 'replace', 'mkdir'])
@pytest.mark.parametrize('after', [0, 2, 6])
def test_stopped_while_regenerating(tmp_path, monkeypatch, what, after):
    """Never a mixture: the old data set, the new one, or none."""
    new = dict(classes=3, train=2, test=2, size=64, seed=1)
    make_minibirds(tmp_path / 'new', **new)
    root = tmp_path / 'root'
    make_minibirds(root, seed=0, **OPTIONS)
    old = contents(root)
    owner = tool if what == 'draw_bird' else Path
    real, calls = getattr(owner, what), []

    def stop(*arguments, **options):
        calls.append(arguments)
        if len(calls) > after:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(owner, what, stop)
    try:
        make_minibirds(root, **new)
    except KeyboardInterrupt:
        pass
    monkeypatch.undo()
    try:
        DATASETS.build(dict(type='CUBWithBoxes', data_root=str(root)))
    except FileNotFoundError:
        make_minibirds(root, **new)
        assert contents(root) == contents(tmp_path / 'new')
    else:
        found = contents(root)
        parts = {'parts/parts.txt', 'parts/parts.txt.tmp'}
        whole = [
            {name: text for name, text in files.items() if name not in parts}
            for files in (found, old, contents(tmp_path / 'new'))
        ]
        assert whole[0] in whole[1:]


def test_taxonomy(tmp_path):
    """Of all species; the plain one misses a rank."""
    make_minibirds(tmp_path, classes=len(SPECIES), train=1, test=1, size=32, seed=0)
    classes = (tmp_path / 'classes.txt').read_text().split()[1::2]
    taxonomy = read_taxonomy(tmp_path / 'taxonomy.csv', classes)
    assert taxonomy.ranks == ['class', 'genus', 'family']
    assert taxonomy.labels('genus').tolist().count(-1) == 1
    assert taxonomy.names['family'] == ['Marked_body', 'Marked_head', 'Unmarked']
    for i, marks in enumerate(SPECIES.values()):
        genus = taxonomy.names['genus'][taxonomy.labels('genus')[i]]
        assert (genus == 'Capped') == ('cap' in marks)


def test_the_taxonomy_of_others_stays(tmp_path):
    (tmp_path / 'taxonomy.csv').write_text('class,genus\njay,Garrulus\n')
    with pytest.raises(FileExistsError, match='taxonomy.csv'):
        make_minibirds(tmp_path, seed=0, **OPTIONS)
    assert (tmp_path / 'taxonomy.csv').is_file()
