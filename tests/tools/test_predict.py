import csv
import json
import os
import shutil
import sys
from unittest.mock import Mock

import numpy as np
import pytest
from helpers import run_python
from mmengine.logging import MMLogger
from PIL import Image

from apcnn_mm.apis import images
from tools import predict as script


@pytest.fixture
def predict(trained, monkeypatch, capsys):
    """Runs the script in this process; its exit status and what it printed."""

    def run(source, out, *options, checkpoint=trained.checkpoint, config=None):
        config = config or trained.work_dir / 'apcnn_r18_minibirds.py'
        arguments = [source, config, checkpoint, '--out', out, '--batch-size', 3]
        arguments += ['--top-k', 2, '--num-workers', 0, *options]
        monkeypatch.setattr(sys, 'argv', ['predict.py', *map(str, arguments)])
        status = 0
        try:
            script.main()
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
            if status == 1:
                print(error.code)
        output = capsys.readouterr()
        return status, output.out + output.err

    return run


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
    """As it is called, in a process of its own and with workers."""
    out = tmp_path / 'results.jsonl'
    done = run_python(
        'tools/predict.py',
        *(pictures, trained.work_dir / 'apcnn_r18_minibirds.py', trained.checkpoint),
        *('--out', out, '--batch-size', '3', '--top-k', '2'),
        *('--pictures', tmp_path / 'drawn'),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = {line['image'].removeprefix(f'{pictures}/'): line for line in read(out)}
    assert len(results) == 9
    broken = {name for name, line in results.items() if line['error']}
    assert broken == {'empty.jpg', 'cut.jpg'}
    for name in set(results) - broken:
        line = results[name]
        assert (line['width'], line['height']) == (64, 64)
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
    assert 'left out are files, 1 that are no images' in done.stdout


def test_a_stopped_run_goes_on(predict, pictures, tmp_path):
    whole, stopped = tmp_path / 'whole.jsonl', tmp_path / 'stopped.jsonl'
    for out in (whole, stopped):
        assert predict(pictures, out)[0] == 0
    text = whole.read_text()
    # Killed in the middle of the fifth line.
    end = [i for i, character in enumerate(text) if character == '\n'][3]
    stopped.write_text(text[: end + 40])
    good = sum(line['error'] is None for line in read(whole)[:4])
    # Repaired since then.
    (pictures / 'empty.jpg').write_bytes((pictures / '0.JPG').read_bytes())
    status, output = predict(pictures, stopped)
    assert status == 0 and f'{good} images are in' in output
    results = {line['image']: line for line in read(stopped)}
    assert results.keys() == {line['image'] for line in read(whole)}
    assert len(read(stopped)) == len(results)
    assert [name for name, line in results.items() if line['error']] == [
        str(pictures / 'cut.jpg')
    ]


@pytest.mark.parametrize(
    'spoil',
    [
        lambda lines: ['\0' * 500 + '\n', *lines[1:]],
        lambda lines: [*lines, '\0' * 500],
        lambda lines: ['5\n', '{}\n', '\n', '{"image": [], "error": null}\n', *lines],
        lambda lines: [line.replace('"error": null', '"err\xf6r"') for line in lines],
    ],
)
def test_spoilt_lines_are_done_again(predict, pictures, tmp_path, spoil):
    out = tmp_path / 'out.jsonl'
    predict(pictures, out)
    expected = {line['image']: line for line in read(out)}
    text = ''.join(spoil(out.read_text().splitlines(keepends=True)))
    out.write_bytes(text.encode('latin-1'))
    assert predict(pictures, out)[0] == 0
    assert len(read(out)) == len(expected)
    assert {line['image'] for line in read(out)} == expected.keys()


def test_an_image_that_has_changed(predict, pictures, tmp_path):
    out, image = tmp_path / 'out.jsonl', pictures / '0.JPG'
    predict(pictures, out)
    Image.new('RGB', (30, 20)).save(image, 'JPEG')
    later = os.path.getmtime(out) + 5
    os.utime(image, (later, later))
    predict(pictures, out)
    (line,) = [line for line in read(out) if line['image'] == str(image)]
    assert (line['width'], line['height']) == (30, 20)


def test_the_output_of_something_else(predict, pictures, tmp_path):
    out = tmp_path / 'results.jsonl'
    out.write_text('my notes')
    status, output = predict(pictures / '0.JPG', out)
    assert status == 1 and 'Choose another --out' in output
    assert out.read_text() == 'my notes'
    out.unlink()
    assert predict(pictures / '0.JPG', out)[0] == 0
    status, output = predict(
        pictures / '0.JPG', out, '--cfg-options', 'model.test_cfg.stage=raw'
    )
    assert status == 1 and 'with these settings: another config.' in output
    for text in ('', '\0\0', '[1]', '{'):
        (tmp_path / 'results.jsonl.settings.json').write_text(text)
        status, output = predict(pictures / '0.JPG', out)
        assert status == 1 and 'settings.json cannot be read' in output


def test_cascade(predict, pictures, tmp_path):
    """Images that the raw stage is sure of have its answer, and no refined one."""

    def lines(stage, threshold=None):
        options = [f'model.test_cfg.stage={stage}']
        if threshold is not None:
            options.append(f'model.test_cfg.threshold={threshold}')
        out = tmp_path / f'{stage}-{threshold}.jsonl'
        assert predict(pictures, out, '--cfg-options', *options)[0] == 0
        return [line for line in read(out) if not line['error']]

    expected = lines('both')
    assert lines('cascade', 1) == expected
    assert lines('cascade', 0) == lines('raw')
    confidences = sorted(line['raw'][0]['score'] for line in expected)
    found = lines('cascade', confidences[3])
    assert sum(line['refined'] is not None for line in found) == 3
    for line, both in zip(found, expected):
        stages = both
        if both['raw'][0]['score'] >= confidences[3]:
            stages = dict(both, refined=None, top=both['raw'])
        assert line.keys() == both.keys()
        for key in ('raw', 'refined', 'top'):
            scores = [best['score'] for best in line[key] or ()]
            assert scores == pytest.approx([best['score'] for best in stages[key] or ()])
        assert line['merged_box'] == pytest.approx(both['merged_box'])


def test_settings_are_told_by_content(predict, trained, pictures, tmp_path):
    """The same paths are not the same settings, and other paths may be."""
    checkpoint, config = tmp_path / 'last.pth', tmp_path / 'config.py'
    names = tmp_path / 'list.txt'
    shutil.copy(trained.checkpoint, checkpoint)
    shutil.copy(trained.work_dir / 'apcnn_r18_minibirds.py', config)
    names.write_text(f'{pictures}/0.JPG\n')
    out = tmp_path / 'out.jsonl'

    def run():
        return predict(names, out, checkpoint=checkpoint, config=config)

    assert run()[0] == 0
    status, output = predict(names, out)  # copies
    assert status == 0 and '1 images are in' in output
    for file, source in (
        (checkpoint, trained.work_dir / 'epoch_4.pth'),
        (config, None),
        (names, None),
    ):
        before = file.read_bytes()
        if source:
            shutil.copy(source, file)
        elif file == config:
            with file.open('a') as stream:
                stream.write("\nmodel['test_cfg'] = dict(stage='raw')\n")
        else:
            names.write_text(f'{pictures}/0.JPG\n{pictures}/2.JPG\n')
        status, output = run()
        what = {checkpoint: 'checkpoint', config: 'config', names: 'input'}[file]
        assert status == 1 and f'another {what}.' in output
        file.write_bytes(before)
    assert run()[0] == 0


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig'])
def test_list_and_single_image(predict, pictures, tmp_path, encoding):
    shutil.copy(pictures / '0.JPG', pictures / 'Möwe.JPG')
    listed = [str(pictures / 'Möwe.JPG'), str(pictures / 'absent.jpg')]
    (tmp_path / 'list.txt').write_text('\n'.join(listed) + '\n', encoding=encoding)
    assert predict(tmp_path / 'list.txt', tmp_path / 'list.jsonl')[0] == 0
    present, absent = read(tmp_path / 'list.jsonl')
    assert [present['image'], absent['image']] == listed
    assert present['error'] is None and 'absent.jpg' in absent['error']
    assert predict(listed[0], tmp_path / 'one.jsonl')[0] == 0
    (single,) = read(tmp_path / 'one.jsonl')
    assert single['top'][0]['label'] == present['top'][0]['label']


def test_lines_that_are_there_twice(predict, pictures, tmp_path):
    names = [pictures / '0.JPG', pictures / 'cut.jpg', pictures / '0.JPG'] * 2
    (tmp_path / 'list.txt').write_text('\n'.join(map(str, names)))
    for _ in range(2):
        status, output = predict(tmp_path / 'list.txt', tmp_path / 'out.jsonl')
        assert status == 0 and '4 images are there twice' in output
        lines = [line['image'] for line in read(tmp_path / 'out.jsonl')]
        assert lines == [str(pictures / '0.JPG'), str(pictures / 'cut.jpg')]


def test_pictures_of_a_finished_run(predict, pictures, tmp_path):
    out, drawn = tmp_path / 'out.jsonl', tmp_path / 'drawn'
    predict(pictures, out)
    lines = sorted(out.read_text().splitlines())
    for _ in range(2):
        assert predict(pictures, out, '--pictures', drawn)[0] == 0
        assert sorted(out.read_text().splitlines()) == lines
        assert len(list(drawn.rglob('*.jpg'))) == 7
        next(drawn.rglob('*.jpg')).unlink()


def test_table(predict, pictures, tmp_path):
    """Of all lines, which stay for a run that goes on."""
    out, lines = tmp_path / 'out.csv', tmp_path / 'out.csv.jsonl'
    for options in (['--format', 'csv'], []):
        assert predict(pictures, out, *options)[0] == 0
        with out.open(encoding='utf-8-sig', newline='') as file:
            rows = {row['image']: row for row in csv.DictReader(file)}
        results = read(lines)
        assert rows.keys() == {line['image'] for line in results} and len(rows) == 9
        for line in results:
            row = rows[line['image']]
            assert row['error'] == (line['error'] or '')
            if line['error'] is None:
                assert row['name_2'] == line['top'][1]['name']
                assert float(row['score_1']) == line['top'][0]['score']
                assert row['raw'] == line['raw'][0]['name']
                box = [float(row[key]) for key in ('x1', 'y1', 'x2', 'y2')]
                assert box == line['merged_box']
    lines.unlink()
    status, output = predict(pictures, out, '--format', 'csv')
    assert status == 2 and 'out.csv is there already' in output
    assert out.exists()


def test_parts_of_a_stopped_run(predict, pictures, tmp_path):
    """Of three processes, one of which was killed in the middle of a line."""
    out = tmp_path / 'out.jsonl'
    predict(pictures, out)
    expected = {line['image'] for line in read(out)}
    lines = out.read_text().splitlines(keepends=True)
    out.write_text(''.join(lines[:2]))
    (tmp_path / 'out.jsonl.part1').write_text(''.join(lines[2:4] + lines[:1]))
    (tmp_path / 'out.jsonl.part2').write_text(lines[4] + lines[5][:40])
    (tmp_path / 'out.jsonl.part').write_text('my own')
    status, output = predict(pictures, out)
    good = {line for line in lines[:5] if '"error": null' in line}
    assert status == 0 and f'{len(good)} images are in' in output
    assert good <= set(out.read_text().splitlines(keepends=True))
    assert len(read(out)) == 9 and {line['image'] for line in read(out)} == expected
    names = {path.name.removeprefix('out.jsonl') for path in tmp_path.glob('out*')}
    assert names == {'', '.settings.json', '.part'}


def test_hostile_folders(predict, pictures, tmp_path, monkeypatch):
    warnings = []
    logger = Mock(warning=warnings.append)
    monkeypatch.setattr(images.MMLogger, 'get_current_instance', lambda: logger)
    os.mkfifo(pictures / 'pipe')
    (pictures / 'sub' / 'x.jpg').mkdir()
    (pictures / 'sub' / 'loop').symlink_to(pictures)
    (pictures / 'self.jpg').symlink_to('self.jpg')
    (pictures / '.hidden.jpg').write_bytes((pictures / '0.JPG').read_bytes())
    status, _ = predict(pictures, tmp_path / 'out.jsonl')
    assert status == 0
    assert len(warnings) == 1 and 'left out are files, 1 hidden' in warnings[0]
    lines = {
        os.path.relpath(line['image'], pictures): line
        for line in read(tmp_path / 'out.jsonl')
    }
    assert len(lines) == len(read(tmp_path / 'out.jsonl')) == 13
    broken = {name for name, line in lines.items() if line['error']}
    assert broken == {
        *('empty.jpg', 'cut.jpg', 'pipe', 'sub/x.jpg', 'sub/loop', 'self.jpg')
    }


def test_no_image_could_be_predicted(predict, pictures, tmp_path):
    status, output = predict(pictures / 'cut.jpg', tmp_path / 'out.jsonl')
    assert status == 1 and 'No image could be predicted' in output
    assert read(tmp_path / 'out.jsonl')[0]['error']
    # 0.JPG is there from the first run: it has been predicted.
    (tmp_path / 'list.txt').write_text(f'{pictures}/cut.jpg\n{pictures}/0.JPG')
    for _ in range(2):
        assert predict(tmp_path / 'list.txt', tmp_path / 'both.jsonl')[0] == 0


def test_ctrl_c(predict, pictures, tmp_path, monkeypatch):
    """What is there stays, and the same command goes on."""
    out = tmp_path / 'out.jsonl'
    stream = script.APCNNInferencer.stream

    def stopped(*args):
        for i, item in enumerate(stream(*args)):
            if i == 4:
                raise KeyboardInterrupt
            yield item

    monkeypatch.setattr(script.APCNNInferencer, 'stream', stopped)
    with pytest.raises(KeyboardInterrupt, match='The same command goes on'):
        predict(pictures, out)
    assert len(read(out)) == 4
    monkeypatch.undo()
    assert not any('.tmp' in path.name for path in tmp_path.iterdir())


def test_mistakes(predict, pictures, tmp_path):
    out = tmp_path / 'out.jsonl'
    status, output = predict(tmp_path / 'nowhere', out)
    assert status == 2 and f'{tmp_path}/nowhere' in output
    (tmp_path / 'empty').mkdir()
    status, output = predict(tmp_path / 'empty', out)
    assert status == 1 and 'no images' in output
    (tmp_path / 'empty.txt').touch()
    status, output = predict(tmp_path / 'empty.txt', out)
    assert status == 1 and 'no images' in output
    (tmp_path / 'movie.gif').write_bytes(b'GIF89a\xff\xfe')
    status, output = predict(tmp_path / 'movie.gif', out)
    assert status == 1 and 'movie.gif is neither' in output
    status, output = predict(pictures, tmp_path / 'empty')
    assert status == 2 and 'is a folder' in output
    status, output = predict(pictures, tmp_path / 'empty.txt' / 'out.jsonl')
    assert status == 2 and 'empty.txt' in output
    status, output = predict(pictures, out, '--pictures', tmp_path / 'empty.txt')
    assert status == 2 and 'empty.txt' in output
    status, output = predict(pictures, out, '--pictures', pictures / 'drawn')
    assert status == 2 and 'lies among the images' in output
    for option in ('--top-k', '--batch-size'):
        status, output = predict(pictures, out, option, '0')
        assert status == 2 and f'{option} must be at least 1' in output
    assert not out.exists()


@pytest.mark.parametrize(
    'config, option, message',
    [
        (None, 'model.head.hidden_channels=8', 'size mismatch'),
        ('ablation/plain.py', 'model.head.num_classes=6', 'not PlainClassifier'),
        (None, 'test_dataloader.dataset.pipeline.2.type=EfficientNetCenterCrop', 'Boxes'),
    ],
)
def test_what_does_not_fit(predict, pictures, tmp_path, config, option, message):
    """mmengine would leave out layers with a warning, and predict noise."""
    config = config and f'configs/{config}'
    with pytest.raises(ValueError, match=f'(?s){message}'):
        predict(pictures, tmp_path / 'out.jsonl', '--cfg-options', option, config=config)
    assert not (tmp_path / 'out.jsonl').exists()


def test_names_of_a_taxonomy(predict, pictures, trained, tmp_path, monkeypatch):
    """That of the config's evaluation, and a given one."""
    config = trained.work_dir / 'apcnn_r18_minibirds.py'
    out = tmp_path / 'config.jsonl'
    assert predict(pictures / '0.JPG', out, '--confidence', 0.001)[0] == 0
    (line,) = read(out)
    # Surely the most probable one, which is the deepest.
    best = line['top'][0]
    assert line['rollup'] == dict(rank='class', name=best['name'], score=best['score'])
    assert list(line['ranks']) == ['class', 'genus', 'family']
    assert line['ranks']['class'] == line['top']
    assert [len(names) for names in line['ranks'].values()] == [2, 2, 2]
    assert line['ranks']['family'][0]['score'] >= best['score'] - 1e-6
    status, output = predict(pictures / '0.JPG', out)  # with 0.8
    assert status == 1 and 'another taxonomy' in output

    names = (trained.data_root / 'classes.txt').read_text().split()[1::2]
    table = ['species;kind', *(f'{name};minibird' for name in names)]
    own = tmp_path / 'own.csv'
    own.write_text('\n'.join(table))
    out = tmp_path / 'own.jsonl'
    assert predict(pictures / '0.JPG', out, '--taxonomy', own)[0] == 0
    (line,) = read(out)
    assert line['rollup']['name'] == 'minibird'
    assert line['rollup']['score'] == pytest.approx(1)
    own.write_text('\n'.join(table[:-1]))
    with pytest.raises(ValueError, match=f"{own} must have .*: '{names[-1]}'"):
        predict(pictures / '0.JPG', out, '--taxonomy', own)

    # On a machine without the data the answers are plain.
    moved = tmp_path / 'moved.py'
    moved.write_text(config.read_text().replace(f'{trained.data_root}', '/nowhere'))
    out = tmp_path / 'moved.jsonl'
    warnings = []
    monkeypatch.setattr(MMLogger, 'warning', lambda self, text: warnings.append(text))
    assert predict(pictures / '0.JPG', out, config=moved)[0] == 0
    assert any('/nowhere/taxonomy.csv' in text for text in warnings)
    assert not {'rollup', 'ranks'} & set(read(out)[0])
