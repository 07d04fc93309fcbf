import numpy as np
from PIL import Image

from tools import split_dataset


def test_command(run_main, tmp_path):
    """From class folders to the next command; an error is a sentence."""
    random = np.random.default_rng(0)
    for name in ('jay', 'wren'):
        (tmp_path / 'all' / name).mkdir(parents=True)
        for i in range(5):
            pixels = random.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / 'all' / name / f'{i}.png')
    out = tmp_path / 'my pictures'
    command = (split_dataset, tmp_path / 'all', '--out', out)
    done = run_main(*command)
    assert done.returncode == 0, done.stderr
    assert '       4       1  jay\n       4       1  wren\n' in done.stdout
    assert f"data_root='{out}'\n" in done.stdout
    assert f'Nothing was made: {out} is there already' in run_main(*command).stderr
