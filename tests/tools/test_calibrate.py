import json

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmpretrain.registry import DATASETS
from PIL import Image

from apcnn_mm.apis import APCNNInferencer
from apcnn_mm.datasets.holdout import choose_images, hold_out, image_paths
from tools import calibrate as script
from tools import predict, test, train


@pytest.fixture
def calibrate(run_main, trained, tmp_path):
    """Runs the script; what it printed, and an inferencer with the new checkpoint."""

    def run(*arguments, config=None, checkpoint=trained.checkpoint):
        config = config or trained.work_dir / 'apcnn_r18_minibirds.py'
        out = tmp_path / 'calibrated.pth'
        options = ['--cfg-options', 'test_dataloader.num_workers=0']
        done = run_main(
            script, config, checkpoint, '--out', out, *map(str, arguments), *options
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout, APCNNInferencer(str(config), out)

    return run


@pytest.fixture
def image(trained):
    return str(sorted(trained.data_root.glob('images/*/*.jpg'))[0])


@pytest.fixture
def with_validation(trained, tmp_path):
    """A config whose validation images are not those of the test."""
    config = Config.fromfile(trained.work_dir / 'apcnn_r18_minibirds.py')
    config.val_dataloader.dataset.split = 'train'
    config.dump(tmp_path / 'config.py')
    return tmp_path / 'config.py'


def test_temperature_and_threshold_are_in_the_checkpoint(
    calibrate, with_validation, trained, image, run_main, tmp_path
):
    """Of the validation split; all that predicts uses them."""
    text, inferencer = calibrate(
        *('--accept', 0.9, '--score', 'disagreement'), config=with_validation
    )
    assert 'The validation split.' in text and 'On these 18 images' in text
    assert 'WARNING' not in text
    checkpoint = tmp_path / 'calibrated.pth'
    assert text.endswith(
        f'Next:\n    python tools/predict.py NEW_PICTURES {with_validation} {checkpoint} '
        '--out results.csv --format csv --cfg-options test_dataloader.num_workers=0\n'
    )
    calibrator = inferencer.model.head.calibrator
    plain = APCNNInferencer(str(with_validation), trained.checkpoint)
    (before,), (after,) = plain(image, top_k=6), inferencer(image, top_k=6)
    assert before['accepted'] is None and isinstance(after['accepted'], bool)
    assert after['novelty'] != before['novelty']
    assert after['accepted'] == (after['novelty'] <= calibrator.threshold.item())
    probs, calibrated = (
        torch.tensor([entry['score'] for entry in line['top']]) for line in (before, after)
    )
    temperature = calibrator.temperature.item()
    assert temperature != 1
    torch.testing.assert_close(
        calibrated, (probs.log() / temperature).softmax(0), atol=1e-4, rtol=1e-3
    )
    # At least 0.9 * 19 of the 18 images that it was found on.
    root = trained.data_root
    numbers = (root / 'train_test_split.txt').read_text().split()[1::2]
    files = (root / 'images.txt').read_text().split()[1::2]
    images = [
        str(root / 'images' / file) for file, number in zip(files, numbers) if number == '1'
    ]
    assert sum(line['accepted'] for line in inferencer(images)) == 18
    # The scripts
    out = tmp_path / 'out.jsonl'
    workers = ['--num-workers', 0]
    done = run_main(predict, image, with_validation, checkpoint, '--out', out, *workers)
    assert done.returncode == 0, done.stderr
    line = json.loads(out.read_text())
    assert line['accepted'] == after['accepted']
    assert line['novelty'] == pytest.approx(after['novelty'])
    assert set(line) == set(before)
    metrics = tmp_path / 'metrics.json'
    done = run_main(
        *(test, with_validation, checkpoint, '--work-dir', tmp_path / 'work'),
        *('--out', metrics, '--out-item', 'metrics'),
        *('--cfg-options', 'test_dataloader.num_workers=0'),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert {'calibration/ECE', 'calibration/NLL', 'calibration/accepted'} <= set(
        json.loads(metrics.read_text())
    )


def test_validation_is_the_test(calibrate, trained):
    """As on CUB-200-2011: training images, with a warning, and never those of the test."""
    text, inferencer = calibrate('--accept', 0.5)
    assert 'Validation and test have the same images' in text and 'WARNING' in text
    assert 'On these 3 images' in text
    assert inferencer.has_threshold


def test_images_that_were_left_out(run_main, trained, calibrate, tmp_path, monkeypatch):
    """`train.py --holdout`: no warning, and none of the images of training or test."""
    done = run_main(
        *(train, trained.work_dir / 'apcnn_r18_minibirds.py', '--holdout'),
        *('--work-dir', tmp_path / 'run', '--cfg-options', 'train_cfg.max_epochs=1'),
        *(f'{split}_dataloader.num_workers=0' for split in ('train', 'val')),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (path,) = (tmp_path / 'run').glob('*.py')
    config = Config.fromfile(path)
    chosen, said, seen = choose_images(config, {}, seed=7)
    assert 'left out of the training' in said and not seen
    assert chosen.dataset.pipeline == config.test_dataloader.dataset.pipeline
    left_out = image_paths(chosen)
    trained_on = image_paths(config.train_dataloader.dataset)
    assert len(left_out) == 3 and len(trained_on) == 15 and not left_out & trained_on
    assert not left_out & image_paths(config.test_dataloader.dataset)
    # Again with the saved config: not a fifth of the rest.
    monkeypatch.setattr('sys.argv', ['train.py', str(path), '--holdout'])
    again = train.read_config(train.parse_args())
    assert again.train_dataloader.dataset.dataset.type == 'CUBWithBoxes'
    text, _ = calibrate(
        '--accept', 0.5, config=path, checkpoint=tmp_path / 'run/epoch_1.pth'
    )
    assert 'On these 3 images' in text
    # One of another training in the same work directory.
    with pytest.raises(AssertionError, match='of another training .*with 18 images'):
        calibrate('--accept', 0.5, config=path)


def test_left_out_of_one_part_of_the_training_alone(trained):
    """Joined data sets with the same images: the model is trained on what it left out."""
    config = Config.fromfile(trained.work_dir / 'apcnn_r18_minibirds.py')
    birds = config.train_dataloader.dataset
    joined = ConfigDict(type='ConcatDataset', datasets=[birds, dict(birds, indices=10)])
    config.train_dataloader.dataset = hold_out(joined)
    with pytest.raises(ValueError, match='left out are in another part .*jpg'):
        choose_images(config, {})


def test_the_share_of_the_training_images_is_seeded(trained):
    config = Config.fromfile(trained.work_dir / 'apcnn_r18_minibirds.py')
    shares = [image_paths(choose_images(config, {}, seed)[0]) for seed in (0, 0, 1)]
    assert shares[0] == shares[1] != shares[2]


def test_strangers(calibrate, with_validation, tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / 'strangers' / 'sub').mkdir(parents=True)
    for i in range(5):
        picture = random.integers(0, 255, (40, 50, 3), dtype=np.uint8)
        name = ('sub/' if i % 2 else '') + f'{i}.jpg'
        Image.fromarray(picture).save(tmp_path / 'strangers' / name)
    text, _ = calibrate(
        *('--accept', 0.9, '--strangers', tmp_path / 'strangers'), config=with_validation
    )
    assert '5 strangers' in text
    lines = text.splitlines()
    for name in ('max_prob', 'energy', 'disagreement'):
        (line,) = [line for line in lines if line.strip().startswith(name)]
        assert ('--score' in line) == (name == 'energy')
    (tmp_path / 'calibrated.pth').unlink()
    (tmp_path / 'strangers' / 'broken.jpg').write_text('no picture')
    text, _ = calibrate(
        *('--accept', 0.9, '--strangers', tmp_path / 'strangers'), config=with_validation
    )
    assert '1 of the strangers cannot be read' in text and 'broken.jpg' in text
    assert '5 strangers' in text


def test_joined_with_strangers(trained, with_validation, run_main, tmp_path):
    """The metric tells them apart; Accuracy would fail at the first of them."""
    config = Config.fromfile(with_validation)
    known = config.test_dataloader.dataset
    strangers = dict(
        type='Strangers',
        data_root=f'{trained.data_root}/images',
        pipeline=known.pipeline,
    )
    config.test_dataloader.dataset = dict(
        type='ConcatDataset', ignore_keys='classes', datasets=[known, strangers]
    )
    config.test_dataloader.num_workers = 0
    config.dump(tmp_path / 'joined.py')
    arguments = [
        tmp_path / 'joined.py',
        trained.checkpoint,
        '--work-dir',
        tmp_path / 'work',
    ]
    done = run_main(test, *arguments)
    assert done.returncode == 1 and 'has Strangers' in done.stderr
    config.test_evaluator = dict(type='Calibration')
    config.dump(tmp_path / 'joined.py')
    out = tmp_path / 'metrics.json'
    done = run_main(test, *arguments, '--out', out, '--out-item', 'metrics')
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(DATASETS.build(config.test_dataloader.dataset)) == 12 + 30
    assert 'calibration/AUROC' in json.loads(out.read_text())


def test_training_forgets_the_calibration(
    calibrate, with_validation, run_main, trained, tmp_path
):
    """It is one of the weights that the training began with."""
    _, inferencer = calibrate('--accept', 0.9, config=with_validation)
    done = run_main(
        *(train, with_validation, '--work-dir', tmp_path / 'run', '--cfg-options'),
        *(f'load_from={tmp_path}/calibrated.pth', 'train_cfg.max_epochs=1'),
        *(f'{split}_dataloader.num_workers=0' for split in ('train', 'val')),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    weights = torch.load(tmp_path / 'run/epoch_1.pth', weights_only=False)['state_dict']
    assert weights['head.calibrator.temperature'] == 1
    assert weights['head.calibrator.threshold'] == float('inf')


def test_another_stage(calibrate, with_validation, run_main, tmp_path):
    calibrate('--accept', 0.9, config=with_validation)
    done = run_main(
        *(test, with_validation, tmp_path / 'calibrated.pth'),
        *('--work-dir', tmp_path / 'work', '--cfg-options'),
        *('model.test_cfg.stage=raw', 'test_dataloader.num_workers=0'),
    )
    assert "was calibrated for model.test_cfg.stage='both'" in done.stdout + done.stderr
    # A cascade has that of both stages.
    cascade = ['model.test_cfg.stage=cascade', 'model.test_cfg.threshold=0.5']
    cascade.append('test_dataloader.num_workers=0')
    done = run_main(
        *(test, with_validation, tmp_path / 'calibrated.pth'),
        *('--work-dir', tmp_path / 'work', '--cfg-options', *cascade),
    )
    assert done.returncode == 0 and 'was calibrated for' not in done.stdout + done.stderr
    arguments = ['--out', tmp_path / 'out.pth', '--cfg-options', *cascade]
    done = run_main(script, with_validation, tmp_path / 'calibrated.pth', *arguments)
    assert done.returncode == 1 and 'has the calibration of both stages' in done.stderr


def test_mistakes(run_main, trained, tmp_path):
    config, out = trained.work_dir / 'apcnn_r18_minibirds.py', tmp_path / 'out.pth'

    def run(*arguments):
        return run_main(script, config, trained.checkpoint, *arguments)

    for arguments, message in [
        (('--out', tmp_path / 'out.txt'), 'ends in .pth'),
        (('--out', trained.checkpoint), 'another file'),
        (('--out', '/proc/out.pth'), '/proc'),
        (('--out', out, '--accept', 1), '--accept must be'),
        (('--out', out, '--strangers', tmp_path / 'no'), f'no folder {tmp_path}/no'),
    ]:
        done = run(*arguments)
        assert done.returncode == 2 and message in done.stderr
    (tmp_path / 'empty').mkdir()
    done = run('--out', out, '--strangers', tmp_path / 'empty')
    assert done.returncode == 1 and 'no images in' in done.stderr
    assert 'ETA' not in done.stderr  # nothing was classified
    done = run('--out', out, '--cfg-options', 'test_dataloader.num_workers=0')
    assert (
        done.returncode == 1
        and 'at least 19' in done.stderr
        and '--accept 0.75' in done.stderr
    )
    assert not out.exists()
