import importlib.util
import sys

import numpy as np
from helpers import REPO
from PIL import Image


def test_the_table(tmp_path, monkeypatch, capsys):
    """One row for each image, with a ratio and a small difference."""
    path = REPO / 'tools/analysis/benchmark_data.py'
    spec = importlib.util.spec_from_file_location('benchmark_data', path)
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.setattr(sys, 'excepthook', sys.excepthook)
    spec.loader.exec_module(script)
    script.make_picture(tmp_path / 'a.jpg', 800, 640)
    Image.fromarray(np.full((90, 60, 3), 99, np.uint8)).save(tmp_path / 'b.png')
    config = str(REPO / 'configs/apcnn_r18_minibirds.py')
    images = [str(tmp_path / name) for name in ('a.jpg', 'b.png')]
    arguments = ['x', config, '--rounds', '2', '--images', *images]
    monkeypatch.setattr(sys, 'argv', arguments)
    script.main()
    _, _, *rows = capsys.readouterr().out.splitlines()
    assert [row.split(' | ')[0] for row in rows] == ['| a.jpg', '| b.png']
    for row in rows:
        *_, slow, fast, ratio, difference = row.strip('| ').split(' | ')
        assert float(slow.split()[0]) > 0 and float(fast.split()[0]) > 0
        assert float(ratio) > 0 and 0 <= float(difference) < 1
