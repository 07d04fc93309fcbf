import os
import re
import subprocess
from types import SimpleNamespace

import pytest
import torch
from helpers import MINIBIRDS_CONFIG as CONFIG
from helpers import REPO, TINY

from tools.analysis import benchmark

OPTIONS = ['--shape', 64, 64, '--rounds', 2, '--cfg-options', *TINY]
# What the released files look like: a stand-in of another model.
RELEASED = """
import torch
from lib.nms.pth_nms import pth_nms


class Model(torch.nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.fc = torch.nn.Linear(3, num_classes)

    def forward(self, inputs, targets):
        boxes = torch.tensor([[0, 0, 9, 9, 0.1], [0, 0, 9, 8, 0.3], [20, 20, 29, 29, 0.2]])
        assert pth_nms(boxes.cuda(), 0.05).tolist() == [1, 2]  # the best first
        logits = self.fc(inputs.mean(dim=(2, 3)))
        return {'loss': torch.nn.functional.cross_entropy(logits, targets)}, {}, None, []


def resnet18(num_classes):
    return Model(num_classes)
"""


def rows_of(output):
    """The cells of each line of the table."""
    lines = [line for line in output.splitlines() if line.startswith('| ')][1:]
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]


def test_the_table(run_main, tmp_path):
    (tmp_path / 'model').mkdir()
    (tmp_path / 'model' / 'resnet18.py').write_text(RELEASED)
    settings = ['--settings', 'plain', 'channels_last', '--cascade', 0.5]
    done = run_main(benchmark, CONFIG, '--released', tmp_path, *settings, *OPTIONS)
    assert done.returncode == 0, done.stderr
    rows = rows_of(done.stdout)
    name = 'this package'
    assert [row[:2] for row in rows] == [
        ['training', 'released code'],
        ['training', name],
        ['training', f'{name}, channels_last'],
        ['prediction', 'released code'],
        ['prediction', name],
        ['prediction', f'{name}, raw stage'],
        ['prediction', f'{name}, cascade of 50%'],
        ['prediction', f'{name}, channels_last'],
        ['prediction', f'{name}, channels_last, raw stage'],
        ['prediction', f'{name}, channels_last, cascade of 50%'],
        ['data path', "Pillow's resizing"],
        ['data path', name],
    ]
    for _, _, images, milliseconds, ratio, _ in rows:
        assert float(images) > 0 and float(milliseconds) >= 0 and float(ratio) > 0
    firsts = [next(row for row in rows if row[0] == task) for task in {r[0] for r in rows}]
    assert {row[4] for row in firsts} == {'1.00'}


@pytest.mark.parametrize('share, refined', [(0, 0), (0.25, 1), (0.5, 2), (1, 4)])
def test_the_share_of_a_cascade(tiny_model, share, refined):
    torch.manual_seed(0)
    model, images = tiny_model().eval(), torch.randn(4, 3, 64, 64)
    model.test_stage, model.threshold = 'cascade', 1
    benchmark.refine_share(model, share)
    with torch.no_grad():
        predictions = model(images, mode='predict')
    assert sum(len(sample.stage_scores) == 2 for sample in predictions) == refined


def test_an_exported_model(run_main, tmp_path, monkeypatch):
    """Of pictures, as tools/deployment/export.py writes them, or of normalised images."""
    onnxruntime = pytest.importorskip('onnxruntime')
    fed = []

    class Session:
        def __init__(self, path, options, providers):
            assert options.intra_op_num_threads == 3
            assert providers == ['CPUExecutionProvider']
            self.type = 'tensor(uint8)' if 'pictures' in path else 'tensor(float)'
            self.name = 'images'

        def get_inputs(self):
            return [self]

        def get_modelmeta(self):
            return SimpleNamespace(custom_metadata_map={})

        def run(self, names, inputs):
            fed.append(inputs['images'])

    monkeypatch.setattr(onnxruntime, 'InferenceSession', Session)
    images = torch.randn(2, 3, 32, 48)
    for name in ('pictures.onnx', 'images.onnx'):
        row = benchmark.onnx_row(str(tmp_path / name), images, 3, 0.5)
        assert row.task == 'prediction' and name in row.name
        row.step()
    pictures, same = fed
    assert pictures.shape == (2, 32, 48, 3) and pictures.dtype == 'uint8'
    assert pictures.std() > 30
    assert torch.equal(torch.from_numpy(same), images)


@pytest.mark.parametrize(
    'options, message',
    [
        (['--settings', 'fast'], 'fast is not plain or some of'),
        (['--settings', 'amp'], 'amp needs --device cuda'),
        (['--released', 'configs'], 'configs has no folder "model"'),
        (['--cascade', '2'], '--cascade must be a share'),
        (['--batch-size', '1'], '--batch-size 2'),
        (['--onnx', 'no.onnx'], 'there is no file .*no.onnx'),
    ],
)
def test_mistakes(run_main, options, message):
    done = run_main(benchmark, CONFIG, *options)
    assert done.returncode and re.search(message, done.stderr)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_gpu_checks_without_a_gpu(tmp_path):
    """One sentence and a clean end, before anything is installed."""
    (tmp_path / 'python').write_text('#!/bin/sh\nexit 3\n')
    (tmp_path / 'python').chmod(0o755)
    done = subprocess.run(
        ['bash', REPO / 'tools/analysis/gpu_checks.sh'],
        env={**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}'},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stderr == ''
    assert 'no NVIDIA GPU here' in done.stdout and len(done.stdout.splitlines()) == 1
