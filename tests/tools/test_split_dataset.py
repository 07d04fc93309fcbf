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
    check = 'tools/check_dataset.py configs/apcnn_mobilenetv2_folder_224.py'
    assert f"Next:\n    python {check} --cfg-options 'data_root={out}'\n" in done.stdout
    assert f'Nothing was made: {out} is there already' in run_main(*command).stderr
    done = run_main(*command[:3], tmp_path / 'three', '--test', '0.2')
    options = f'data_root={tmp_path}/three test_dataloader.dataset.split=test'
    assert f'{check} --cfg-options {options}\n' in done.stdout
