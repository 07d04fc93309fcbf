"""The second look at original pictures, with the tools: training, test, prediction."""

import numpy as np
import pytest
import torch
from helpers import MINIBIRDS_CONFIG, REPO, TINY, losses
from mmengine.fileio import load
from PIL import Image

from apcnn_mm.apis import APCNNInferencer
from apcnn_mm.launch import load_config
from tools import test as test_script
from tools import train as train_script

CONFIG = 'configs/ablation/refine_original.py'
WITHOUT_WORKERS = [
    f'{split}_dataloader.num_workers=0' for split in ('train', 'val', 'test')
]


@pytest.fixture(autouse=True)
def on_minibirds(monkeypatch):
    monkeypatch.setenv('ABLATION_BASE', str(REPO / MINIBIRDS_CONFIG))


def test_training(run_main, minibirds, tmp_path):
    options = [*TINY, *WITHOUT_WORKERS, f'data_root={minibirds}', 'train_cfg.max_epochs=1']
    arguments = [CONFIG, '--work-dir', tmp_path, '--cfg-options', *options]
    done = run_main(train_script, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    assert np.isfinite(losses(tmp_path)[1]).all()
    assert 'accuracy/top1' in done.stdout + done.stderr


def run_test(run_main, trained, work_dir, *arguments):
    options = [*trained.options, *WITHOUT_WORKERS]
    done = run_main(
        test_script,
        CONFIG,
        trained.checkpoint,
        *('--work-dir', work_dir, *arguments),
        *('--cfg-options', *options),
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_test_and_prediction(run_main, trained, tmp_path):
    """One file predicted is one file tested, and nobody keeps its picture."""
    out = tmp_path / 'out.pkl'
    run_test(run_main, trained, tmp_path, '--out', out)
    tested = load(out)
    assert len(tested) == 12 and not any('original' in sample for sample in tested)
    assert out.stat().st_size < 12 * 20_000

    options = dict(option.split('=', maxsplit=1) for option in trained.options)
    keys = ('model.backbone.stem_channels', 'model.backbone.base_channels')
    keys += ('model.neck.out_channels', 'model.head.in_channels')
    keys += ('model.head.hidden_channels', 'model.head.num_classes')
    options = {key: int(options[key]) for key in keys}
    options['model.neck.in_channels'] = [16, 32, 64]
    cfg = load_config(str(REPO / CONFIG), options)
    inferencer = APCNNInferencer(cfg, trained.checkpoint, device='cpu')
    paths = [sample['img_path'] for sample in tested]
    predicted = inferencer(paths, return_datasamples=True, batch_size=5)
    for sample, prediction in zip(tested, predicted):
        assert 'original' not in prediction
        torch.testing.assert_close(prediction.stage_scores, sample['stage_scores'])
        torch.testing.assert_close(prediction.merged_box, sample['merged_box'])
    # Given as an array; and as photographs are, which LoadImage decodes at a fraction.
    large = Image.open(paths[0]).resize((3200, 3200), Image.Resampling.NEAREST)
    large.save(tmp_path / 'large.jpg', quality=95)
    array = np.ascontiguousarray(np.asarray(large.convert('RGB'))[..., ::-1])
    of_file, of_array = inferencer([tmp_path / 'large.jpg', array])
    assert of_file['width'] == of_array['width'] == 3200
    assert np.allclose(of_file['merged_box'], of_array['merged_box'], atol=30)


def test_test_time_augmentation(run_main, trained, tmp_path):
    """The mirrored view looks at a mirrored picture."""
    out = tmp_path / 'metrics.json'
    run_test(run_main, trained, tmp_path, '--tta', '--out', out, '--out-item', 'metrics')
    assert 0 <= load(out)['accuracy/top1'] <= 100
