import json
import os
import shutil

import pytest
import torch
from helpers import MINIBIRDS_CONFIG as CONFIG
from helpers import REPO
from mmengine.fileio import load

from tools import test as script
from tools.test import write_metrics


@pytest.fixture
def run_test(run_main, trained, tmp_path):
    """Runs the script in this process; what it wrote."""

    def run(*arguments, options=(), config=CONFIG):
        done = run_main(
            script,
            config,
            trained.checkpoint,
            *('--work-dir', tmp_path / 'work', *arguments),
            *('--cfg-options', *trained.options, *options),
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + done.stderr

    return run


def test_predictions_with_evidence_and_pictures(run_test, tmp_path):
    run_test(
        *('--out', tmp_path / 'out.pkl', '--show-dir', tmp_path / 'pictures'),
        *('--interval', '4'),
    )
    predictions = load(tmp_path / 'out.pkl')
    assert len(predictions) == 12
    for prediction in predictions:
        assert prediction['rois'].shape == (len(prediction['roi_levels']), 4)
        assert prediction['merged_box'].shape == (4,)
    assert len(list((tmp_path / 'pictures').glob('*.png'))) == 3


def test_the_training_keeps_its_config(run_main, trained, tmp_path):
    """mmengine would save that of the test in its place, with its augmentation."""
    run = shutil.copytree(trained.work_dir, tmp_path / 'run')
    config = run / 'apcnn_r18_minibirds.py'
    before = config.read_text()
    arguments = (config, run / 'epoch_5.pth', '--tta', '--work-dir', run)
    done = run_main(script, *arguments, '--cfg-options', *trained.options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert config.read_text() == before
    assert 'APCNNTTAModel' in (run / 'test' / config.name).read_text()


def test_confusion_matrix(run_test, tmp_path):
    (tmp_path / 'config.py').write_text(
        f"_base_ = '{REPO}/{CONFIG}'\n"
        "test_evaluator = dict(_delete_=True, type='ConfusionMatrix')\n"
    )
    out = tmp_path / 'metrics.pkl'
    config = tmp_path / 'config.py'
    run_test('--out', out, '--out-item', 'metrics', config=config)
    assert load(out)['confusion_matrix/result'].sum() == 12


def test_metrics_and_test_time_augmentation(run_test, tmp_path):
    out = tmp_path / 'metrics.json'
    pictures = tmp_path / 'pictures'
    run_test(
        *('--tta', '--out', out, '--out-item', 'metrics'),
        *('--show-dir', pictures, '--interval', '6'),
    )
    assert len(list(pictures.glob('*.png'))) == 2
    assert 0 <= json.loads(out.read_text())['accuracy/top1'] <= 100


def test_stage_and_amp(run_test):
    text = run_test('--amp', options=['model.test_cfg.stage=raw'])
    assert 'accuracy/top1' in text
    assert 'trained as another model' not in text


def test_another_refinement_than_in_training(run_test):
    text = run_test(options=['model.refine_at=input'])
    assert "model.refine_at was 'conv3', and is 'input' now" in text


def test_the_saved_config_at_another_place(run_main, trained, tmp_path):
    """The config that a run leaves behind is evaluated already."""
    (tmp_path / 'moved').symlink_to(trained.data_root)
    done = run_main(
        script,
        trained.work_dir / 'apcnn_r18_minibirds.py',
        trained.checkpoint,
        *('--work-dir', tmp_path / 'work', '--cfg-options', f'data_root={tmp_path}/moved'),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f'{tmp_path}/moved' in done.stdout + done.stderr
    assert str(trained.data_root) not in done.stdout + done.stderr


def test_other_classes_than_the_checkpoint(run_main, trained, tmp_path):
    """Logged as a warning by mmengine, and the accuracy would be that of chance."""
    checkpoint = torch.load(trained.checkpoint, weights_only=False)
    classes = checkpoint['meta']['dataset_meta']['classes']
    checkpoint['meta']['dataset_meta']['classes'] = classes[::-1]
    torch.save(checkpoint, tmp_path / 'other.pth')
    done = run_main(
        script,
        CONFIG,
        tmp_path / 'other.pth',
        *('--work-dir', tmp_path / 'work', '--cfg-options', *trained.options),
    )
    assert done.returncode != 0
    assert 'are not those of the checkpoint' in done.stderr


@pytest.mark.parametrize(
    'arguments, message',
    [
        ((CONFIG, '{tmp}/no.pth'), '{tmp}/no.pth'),
        ((CONFIG, __file__, '--out-item', 'metrics'), '--out'),
        ((CONFIG, __file__, '--out', '{tmp}/out.txt'), '--out: {tmp}/out.txt must end in'),
    ],
)
def test_mistakes(run_main, tmp_path, arguments, message):
    done = run_main(script, *(a.format(tmp=tmp_path) for a in arguments))
    assert done.returncode == 2
    assert message.format(tmp=tmp_path) in done.stderr


@pytest.mark.parametrize('name', ['m.json', 'm.yml', 'm.pkl'])
def test_metrics_of_all_kinds(tmp_path, name):
    """Confusion matrices are tensors."""
    metrics = {'accuracy/top1': 50.0, 'confusion_matrix/result': torch.eye(2)}
    write_metrics(metrics, str(tmp_path / name))
    assert load(tmp_path / name)['accuracy/top1'] == 50
    assert list(load(tmp_path / name)['confusion_matrix/result'][0]) == [1, 0]
    assert os.listdir(tmp_path) == [name]
