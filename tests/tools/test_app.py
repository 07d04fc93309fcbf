"""The page, its answers without a browser and with one."""

import csv
import html
import json
import os
import socket
import subprocess
import sys
from urllib.request import urlopen

import pytest
from browser import Browser
from helpers import REPO, WITHOUT_TORCH

pytest.importorskip('gradio')

import apcnn_runtime
from apcnn_mm.apis import APCNNInferencer
from apcnn_runtime import page
from apcnn_runtime.onnx_model import ONNXModel
from tools import app


@pytest.fixture(scope='module')
def checkpoint(trained):
    config = str(trained.work_dir / 'apcnn_r18_minibirds.py')
    return app.Checkpoint(APCNNInferencer(config, trained.checkpoint))


@pytest.fixture(scope='module', params=['checkpoint', 'exported'])
def answers(request):
    model = request.getfixturevalue(request.param)
    model = ONNXModel(str(model)) if request.param == 'exported' else model
    return page.Answers(model, top_k=3)


@pytest.fixture
def pictures(minibirds, tmp_path):
    """Two birds, with a broken file between them."""
    first, second = sorted(minibirds.glob('images/*/*.jpg'))[:2]
    (tmp_path / '<b>broken_.jpg').write_text('no image')
    return [str(path) for path in (first, tmp_path / '<b>broken_.jpg', second)]


def test_answers(answers, pictures):
    gallery, text, lines, table, answered = answers.predict(pictures)
    assert len(gallery) == 2
    assert text.count('\n- ') == 1 and '<b>broken_.jpg' in html.unescape(text)
    assert '<' not in text and '_' not in text
    with open(lines) as file:
        results = [json.loads(line) for line in file]
    names = [path.rpartition('/')[2] for path in pictures]
    assert [result['image'] for result in results] == names
    assert [bool(result['error']) for result in results] == [False, True, False]
    assert pictures[1].rpartition('/')[0] not in results[1]['error']
    with open(table, encoding='utf-8-sig', newline='') as file:
        assert [row['image'] for row in csv.DictReader(file)] == names
    for index, result in enumerate((results[0], results[2])):
        picture, caption = gallery[index]
        assert picture.shape == (64, 64, 3) and result['top'][0]['name'] in caption
        text, top, raw, refined, figure = answers.show(answered, index)
        assert result['image'] in html.unescape(text)
        for shown, key in ((top, 'top'), (raw, 'raw'), (refined, 'refined')):
            assert shown == {entry['name']: entry['score'] for entry in result[key]}
        assert figure.ndim == 3 and figure.shape[1] > figure.shape[0]


def test_no_pictures(answers):
    for paths in (None, []):
        gallery, text, *_, answered = answers.predict(paths)
        assert gallery == [] and text == ''
        assert answers.show(answered) == ('', None, None, None, None)


def test_too_many_pictures(answers):
    with pytest.raises(page.gr.Error, match='the page takes 200.*tools/predict.py'):
        answers.predict(['a.jpg'] * 201)


def test_a_model_without_attention(checkpoint, pictures, monkeypatch):
    answers = page.Answers(checkpoint)
    monkeypatch.setattr(checkpoint.inferencer.model, 'roi_generator', None)
    monkeypatch.setattr(checkpoint.inferencer.model, 'test_stage', 'raw')
    *_, answered = answers.predict(pictures[:1])
    _, top, raw, refined, figure = answers.show(answered)
    assert raw == top and refined is None and figure is None


def test_strangers_and_names_above(answers, pictures):
    ((path, result),) = answers.predict(pictures[:1])[-1]
    text = html.unescape(answers.show([(path, result)])[0])
    assert 'none of these' not in text and 'novelty' not in text
    rollup = dict(rank='genus', name='A & B', score=0.94)
    result = {**result, 'accepted': False, 'novelty': 1.5, 'rollup': rollup}
    text = html.unescape(answers.show([(path, result)])[0])
    assert f'none of these. Nearest: {result["top"][0]["name"]}' in text
    assert 'novelty: 1.5' in text and 'genus: **A & B** (94%)' in text
    result = {**result, 'accepted': True, 'rollup': None}
    text = html.unescape(answers.show([(path, result)])[0])
    assert 'no name above is sure enough' in text
    assert 'none of these' not in text and 'accepted as one of these' in text


def test_command(trained, run_main, monkeypatch):
    """For this machine alone, unless it is told otherwise; no telemetry, no tunnel."""
    launched = {}
    monkeypatch.setattr(
        page.gr.Blocks, 'launch', lambda page, **given: launched.update(given, page=page)
    )
    config = trained.work_dir / 'apcnn_r18_minibirds.py'
    assert run_main(app, config, trained.checkpoint).returncode == 0
    assert launched['server_name'] == '127.0.0.1' and launched['share'] is False
    assert launched['page'].analytics_enabled is False
    assert launched['max_file_size'] == '50mb'
    run_main(app, config, trained.checkpoint, '--host', '0.0.0.0', '--port', '8001')
    assert (launched['server_name'], launched['server_port']) == ('0.0.0.0', 8001)
    done = run_main(app, config, trained.checkpoint, '--top-k', '0')
    assert done.returncode == 2 and '--top-k must be at least 1' in done.stderr


def test_an_exported_model_without_pytorch(exported, run_main, tmp_path, monkeypatch):
    """The page comes up, and leaves nothing; of a file that is none, there is an error."""
    (tmp_path / 'none.onnx').write_text('none')
    done = run_main(app, tmp_path / 'none.onnx')
    assert done.returncode == 1 and 'none.onnx is no ONNX model' in done.stderr
    command = [sys.executable, '-u', '-c', WITHOUT_TORCH, 'tools/app.py', exported]
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    (tmp_path / 'temporary').mkdir()
    environment = {**os.environ, 'TMPDIR': str(tmp_path / 'temporary')}
    for name in ('GRADIO_TEMP_DIR', 'CI', 'ORT_DISABLE_TELEMETRY'):
        environment.pop(name, None)  # ONNX Runtime sends nothing from a CI anyway
    with subprocess.Popen(
        [*command, '--port', port],
        cwd=REPO,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            line = next(line for line in process.stdout if '127.0.0.1' in line)
            with urlopen(f'http://127.0.0.1:{port}', timeout=60) as answer:
                assert 'AP-CNN' in answer.read().decode()
            assert port in line
            assert list((tmp_path / 'temporary').glob('apcnn_app_*'))
            process.terminate()
            process.wait(60)
        finally:
            process.kill()
    # Neither pictures nor what ONNX Runtime keeps for its telemetry.
    left = [path for path in (tmp_path / 'temporary').rglob('*') if not path.is_dir()]
    assert left == [] and not list((tmp_path / 'temporary').glob('apcnn_app_*'))


def test_gradio_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    monkeypatch.delitem(sys.modules, 'apcnn_runtime.page')
    monkeypatch.delattr(apcnn_runtime, 'page')
    monkeypatch.delitem(sys.modules, 'tools.app')
    with pytest.raises(SystemExit, match='pip install'):
        __import__('tools.app')


def test_one_thing_at_a_time():
    """A drop and a click of two people would draw into each other's pictures."""
    listeners = page.build_page(page.Answers(None)).fns.values()
    assert len(listeners) == 2
    assert {(x.concurrency_id, x.concurrency_limit) for x in listeners} == {('model', 1)}


def test_in_the_browser(answers, pictures, tmp_path):
    """Drop pictures, read the answers, click on one; nothing comes from elsewhere."""
    shown = page.build_page(answers)
    _, url, _ = shown.launch(prevent_thread_lock=True, quiet=True, **page.LAUNCH)
    try:
        with Browser(url, tmp_path / 'browser') as browser:
            browser.wait_for("document.querySelector('input[type=file]') !== null")
            browser.choose_files('input[type=file]', *pictures)
            for path in (pictures[0], pictures[2]):
                name = path.rpartition('/')[2]
                browser.wait_for(
                    "document.querySelector('h3') !== null && "
                    f"document.querySelector('h3').innerText.startsWith('{name}')"
                )
                assert len(browser.evaluate('document.body.innerText').split('%')) > 9
                browser.evaluate("document.querySelectorAll('.thumbnail-item')[1].click()")
            text = browser.evaluate('document.body.innerText')
            assert text.partition('could not be predicted:')[2].count('broken') == 2
            assert browser.said == []
    finally:
        shown.close()
