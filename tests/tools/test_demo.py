import os
import re
import shutil
import subprocess
import sys
import time

from helpers import REPO


def test_first_command_of_the_readme(tmp_path):
    """It trains to at least 80 %, looks at the birds, and is cheap to run again."""
    for name in ('apcnn_mm', 'apcnn_runtime', 'configs', 'tools'):
        shutil.copytree(REPO / name, tmp_path / name)
    environment = {**os.environ, 'VIRTUAL_ENV': sys.prefix}
    environment['PATH'] = f'{os.path.dirname(sys.executable)}:{environment["PATH"]}'

    def demo():
        start = time.monotonic()
        done = subprocess.run(
            ['bash', tmp_path / 'tools/demo.sh'],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout, time.monotonic() - start

    output, _ = demo()
    (threads,) = re.findall(r'Training AP-CNN on (\d+) threads', output)
    assert 1 <= int(threads) <= os.cpu_count()
    (tested,) = re.findall(r'Epoch\(test\).*accuracy/top1: .*', output)
    (accuracy,) = re.findall(r'accuracy/top1: ([\d.]+)', tested)
    assert float(accuracy) >= 80
    hits = re.findall(r'localization/pointing_level\d: ([\d.]+)', tested)
    assert len(hits) == 3 and min(map(float, hits)) >= 80
    figures = tmp_path / 'work_dirs/demo/figures'
    assert len(list(figures.glob('*.png'))) == 10
    assert str(figures) in output

    again, duration = demo()
    assert 'Epoch(train)' not in again and 'Epoch(test)' in again
    assert duration < 120
