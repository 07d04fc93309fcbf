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
        assert Image.open(tmp_path / 'drawn' / f'{name}.jpg').size == (64, 64)
    assert '1 files there are no images' in done.stdout


def test_a_stopped_run_goes_on(trained, pictures, tmp_path):
    whole, stopped = tmp_path / 'whole.jsonl', tmp_path / 'stopped.jsonl'
    for out in (whole, stopped):
        assert predict(trained, pictures, out).returncode == 0
    text = whole.read_text()
    # Killed in the middle of the fifth line.
    end = [i for i, character in enumerate(text) if character == '\n'][3]
    stopped.write_text(text[: end + 40])
    good = sum(line['error'] is None for line in read(whole)[:4])
    # Repaired since then.
    (pictures / 'empty.jpg').write_bytes((pictures / '0.JPG').read_bytes())
    done = predict(trained, pictures, stopped, '--num-workers', '0')
    assert done.returncode == 0, done.stderr[-3000:]
    assert f'{good} images are in' in done.stdout
    results = {line['image']: line for line in read(stopped)}
    assert results.keys() == {line['image'] for line in read(whole)}
    assert len(read(stopped)) == len(results)
    assert [name for name, line in results.items() if line['error']] == [
        str(pictures / 'cut.jpg')
    ]


def test_the_output_of_something_else(trained, pictures, tmp_path):
    out = tmp_path / 'results.jsonl'
    out.write_text('my notes')
    done = predict(trained, pictures / '0.JPG', out)
    assert done.returncode == 1 and 'Choose another --out' in done.stderr
    assert out.read_text() == 'my notes'
    out.unlink()
    assert predict(trained, pictures / '0.JPG', out).returncode == 0
    done = predict(
        trained, pictures / '0.JPG', out, '--cfg-options', 'model.test_cfg.stage=raw'
    )
    assert done.returncode == 1 and 'not written with these settings' in done.stderr


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
    (tmp_path / 'movie.gif').write_bytes(b'GIF89a\xff\xfe')
    done = predict(trained, tmp_path / 'movie.gif', tmp_path / 'out.jsonl')
    assert done.returncode == 1 and 'movie.gif is neither' in done.stderr


@pytest.mark.parametrize(
    'config, option, message',
    [
        (None, 'model.head.hidden_channels=8', 'size mismatch'),
        ('ablation/plain.py', 'model.head.num_classes=6', 'not ImageClassifier'),
        (None, 'test_dataloader.dataset.pipeline.2.type=EfficientNetCenterCrop', 'Boxes'),
    ],
)
def test_what_does_not_fit(trained, pictures, tmp_path, config, option, message):
    """mmengine would leave out layers with a warning, and predict noise."""
    config = f'configs/{config}' if config else trained.work_dir / 'apcnn_r18_minibirds.py'
    done = run_python(
        'tools/predict.py',
        *(pictures, config, trained.checkpoint),
        *('--out', tmp_path / 'out.jsonl', '--cfg-options', option),
    )
    assert done.returncode == 1
    assert message in done.stderr[done.stderr.rindex('ValueError') :]
    assert not (tmp_path / 'out.jsonl').exists()
