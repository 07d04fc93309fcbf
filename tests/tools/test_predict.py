import json

import numpy as np
import pytest
from helpers import run_python
from PIL import Image


def predict(trained, source, out, *options):
    return run_python(
        'tools/predict.py',
        *(source, trained.work_dir / 'apcnn_r18_minibirds.py', trained.checkpoint),
        *('--out', out, '--batch-size', '3', '--top-k', '2', *options),
    )


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def pictures(tmp_path, minibirds):
    """Seven readable images in folders, two broken ones and something else."""
    folder = tmp_path / 'pictures'
    (folder / 'sub').mkdir(parents=True)
    images = sorted(minibirds.glob('images/*/*.jpg'))[:7]
    for i, image in enumerate(images):
        target = folder / ('sub' if i % 2 else '') / f'{i}.JPG'
        target.write_bytes(image.read_bytes())
    (folder / 'empty.jpg').touch()
    (folder / 'cut.jpg').write_bytes(images[0].read_bytes()[:300])
    (folder / 'notes.txt').write_text('no image\n')
    return folder


def test_folder(trained, pictures, tmp_path):
    out = tmp_path / 'results.jsonl'
    done = predict(trained, pictures, out, '--pictures', tmp_path / 'drawn')
    assert done.returncode == 0, done.stderr[-3000:]
    results = {line['image'].removeprefix(f'{pictures}/'): line for line in read(out)}
    assert len(results) == 9
    broken = {name for name, line in results.items() if line['error']}
    assert broken == {'empty.jpg', 'cut.jpg'}
    for name in set(results) - broken:
        line = results[name]
        assert len(line['top']) == len(line['raw']) == len(line['refined']) == 2
        first, second = line['top']
        assert first['score'] >= second['score']
        assert first['name'].startswith(f'{first["label"] + 1:03d}.')
        # In pixels of the original, which has 64 x 64.
        boxes = np.array([roi['box'] for roi in line['rois']])
        assert boxes.min() >= 0 and boxes.max() <= 64
        assert {roi['level'] for roi in line['rois']} <= {0, 1, 2}
        merged = [*boxes[:, :2].min(0), *boxes[:, 2:].max(0)]
        assert line['merged_box'] == pytest.approx(merged)
        assert Image.open(tmp_path / 'drawn' / f'{name}.png').size == (64, 64)


def test_a_stopped_run_goes_on(trained, pictures, tmp_path):
    whole, stopped = tmp_path / 'whole.jsonl', tmp_path / 'stopped.jsonl'
    assert predict(trained, pictures, whole).returncode == 0
    text = whole.read_text()
    # Killed in the middle of the fifth line.
    end = [i for i, character in enumerate(text) if character == '\n'][3]
    stopped.write_text(text[: end + 40])
    done = predict(trained, pictures, stopped, '--num-workers', '0')
    assert done.returncode == 0, done.stderr[-3000:]
    assert '4 images are in' in done.stdout
    assert [line['image'] for line in read(stopped)] == [
        line['image'] for line in read(whole)
    ]


def test_list_and_single_image(trained, pictures, tmp_path):
    listed = [str(pictures / '0.JPG'), str(pictures / 'absent.jpg')]
    (tmp_path / 'list.txt').write_text('\n'.join(listed) + '\n')
    assert predict(trained, tmp_path / 'list.txt', tmp_path / 'list.jsonl').returncode == 0
    present, absent = read(tmp_path / 'list.jsonl')
    assert [present['image'], absent['image']] == listed
    assert present['error'] is None and 'absent.jpg' in absent['error']
    assert predict(trained, listed[0], tmp_path / 'one.jsonl').returncode == 0
    (single,) = read(tmp_path / 'one.jsonl')
    assert single['top'][0]['label'] == present['top'][0]['label']


def test_mistakes(trained, tmp_path):
    done = predict(trained, tmp_path / 'nowhere', tmp_path / 'out.jsonl')
    assert done.returncode == 2 and f'{tmp_path}/nowhere' in done.stderr
    (tmp_path / 'empty').mkdir()
    done = predict(trained, tmp_path / 'empty', tmp_path / 'out.jsonl')
    assert done.returncode == 1 and 'no images' in done.stderr


def test_a_config_with_other_classes(trained, pictures, tmp_path):
    """mmengine would leave out the last layers and predict noise."""
    done = run_python(
        'tools/predict.py',
        *(pictures, trained.work_dir / 'apcnn_r18_minibirds.py', trained.checkpoint),
        *('--out', tmp_path / 'out.jsonl', '--cfg-options', 'model.head.num_classes=9'),
    )
    assert done.returncode == 1
    assert 'knows 6 classes' in done.stderr and 'num_classes=6' in done.stderr
