import shutil

import numpy as np
import pytest
import torch
from helpers import MINIBIRDS_CONFIG as CONFIG
from helpers import REPO, TINY, losses, run_python
from PIL import Image

from tools import train as script


def test_checkpoints(trained):
    """The last three and the best one."""
    names = {path.name for path in trained.work_dir.glob('*.pth')}
    best = {name for name in names if name.startswith('best_accuracy_top1_epoch_')}
    assert len(best) == 1
    assert names - best == {'epoch_3.pth', 'epoch_4.pth', 'epoch_5.pth'}


def test_loss_is_finite(trained):
    logged = losses(trained.work_dir)
    assert [len(epoch) for epoch in logged.values()] == [
        4
    ] * 5  # 18 images, the last 2 dropped
    assert np.isfinite(sum(logged.values(), [])).all()


def test_resumed_run_equals_the_unbroken_one(trained, tmp_path):
    done = run_python(
        'tools/train.py',
        CONFIG,
        *('--work-dir', tmp_path, '--resume', trained.work_dir / 'epoch_3.pth'),
        *(
            '--cfg-options',
            *trained.options,
            'train_cfg.max_epochs=5',
            'train_cfg.val_interval=1',
        ),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    resumed, unbroken = losses(tmp_path), losses(trained.work_dir)
    assert set(resumed) == {4, 5}
    for epoch in resumed:
        assert resumed[epoch] == unbroken[epoch]
    weights = [
        torch.load(folder / 'epoch_5.pth', weights_only=False)['state_dict']
        for folder in (tmp_path, trained.work_dir)
    ]
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_a_run_that_is_refused_keeps_the_config(run_main, trained, tmp_path):
    """mmengine has written its own by then, but the checkpoints are those of the first."""
    run = shutil.copytree(trained.work_dir, tmp_path / 'run')
    config = run / 'apcnn_r18_minibirds.py'
    before = config.read_text()
    options = ['train_dataloader.dataset.indices=10', 'train_dataloader.num_workers=0']
    for resume, error in [(['--resume'], '18 images'), ([], 'no checkpoint')]:
        more = [] if resume else ['resume=True', 'load_from=/no checkpoint.pth']
        done = run_main(
            *(script, CONFIG, '--work-dir', run, *resume),
            *('--cfg-options', *trained.options, *options, *more),
        )
        assert done.returncode != 0 and error in done.stderr
        assert config.read_text() == before
        said = done.stdout + done.stderr
        assert 'has checkpoints of another training' not in said
    done = run_main(
        *(script, CONFIG, '--work-dir', run),
        *('--cfg-options', *trained.options, 'train_dataloader.dataset.indices=1'),
    )
    assert 'has checkpoints of another training: best_' in done.stdout + done.stderr
    assert done.returncode != 0 and config.read_text() == before
    # Nothing left to train.
    finished = ['--resume', '--cfg-options', *trained.options, 'train_cfg.max_epochs=5']
    assert run_main(script, CONFIG, '--work-dir', run, *finished).returncode == 0
    assert config.read_text() == before
    longer = ['--resume', '--cfg-options', *trained.options, 'train_cfg.max_epochs=6']
    assert run_main(script, CONFIG, '--work-dir', run, *longer).returncode == 0
    assert 'max_epochs=6' in config.read_text()


@pytest.mark.parametrize(
    'weights, address',
    [
        ('torchvision://resnet50', '(https://download.pytorch.org/models/resnet50-'),
        ('timm://a.b', '(model.safetensors on https://huggingface.co/timm/a.b)'),
        ('https://example.org/a.pth', 'a network, and'),
    ],
)
def test_addresses_of_weights(weights, address):
    """What is known by a name alone can be downloaded elsewhere."""
    assert address in script.tell_missing(weights)


def test_own_folder(run_main, tmp_path):
    """Two things to give: the root, and the number of classes."""
    random = np.random.default_rng(0)
    for split in ('train', 'val'):
        for name in ('jay', 'owl', 'wren'):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(6):
                image = random.integers(0, 255, (40, 60, 3), dtype=np.uint8)
                Image.fromarray(image).save(tmp_path / split / name / f'{i}.jpg')
    # Only to make it small and to do without the network:
    small = [
        'model.backbone.depth=18',
        'model.neck.in_channels=[128,256,512]',
        'model.backbone.init_cfg=None',
        'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=4',
        'train_dataloader.num_workers=0',
        'train_dataloader.dataset.pipeline.1.scale=(80,80)',
        'train_dataloader.dataset.pipeline.2.crop_size=64',
        'val_dataloader.num_workers=0',
    ]
    leaf = ['configs/apcnn_r50_folder.py', '--work-dir', tmp_path / 'run']
    leaf += ['--cfg-options', f'data_root={tmp_path}', *small]
    done = run_main(script, *leaf)
    assert done.returncode == 0, done.stderr[-3000:]
    checkpoint = torch.load(tmp_path / 'run' / 'epoch_1.pth', weights_only=False)
    assert checkpoint['meta']['dataset_meta']['classes'] == ('jay', 'owl', 'wren')
    assert 'accuracy/top1' in done.stdout + done.stderr
    trained = f'{tmp_path}/run/apcnn_r50_folder.py {tmp_path}/run/epoch_1.pth'
    assert done.stdout.endswith(
        f'Next:\n    python tools/report.py {trained} --out {tmp_path}/run/report\n'
        f'    python tools/calibrate.py {trained} --out {tmp_path}/run/calibrated.pth\n'
    )

    for wrong in (2, 4):
        done = run_main(script, *leaf, f'model.head.num_classes={wrong}')
        assert done.returncode != 0
        assert f'The model has {wrong} classes' in done.stderr
        assert 'model.head.num_classes=3' in done.stderr
        assert 'Epoch(train)' not in done.stdout + done.stderr


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['configs/nothing.py'], 'configs/nothing.py'),
        ([CONFIG, '--resume', '--work-dir', '{tmp}/none'], '{tmp}/none'),
        ([CONFIG, '--resume', '{tmp}'], '{tmp} is a folder'),
        ([CONFIG, '--cfg-options', 'data_root={tmp}/none'], '{tmp}/none'),
        (['{tmp}/no_scale.py', '--auto-scale-lr'], 'dict(base_batch_size=16)'),
        (['{tmp}/apex.py', '--amp'], 'ApexOptimWrapper'),
        (['{tmp}/no_root.py', '--cfg-options', 'data_root=here'], 'no variable data_root'),
        (
            [
                'configs/apcnn_r50_cub.py',
                '--cfg-options',
                'model.backbone.init_cfg.checkpoint={tmp}/r50.pth',
            ],
            'weights of the backbone, {tmp}/r50.pth, are missing',
        ),
    ],
)
def test_mistakes(run_main, tmp_path, arguments, message):
    base = f"_base_ = '{REPO}/{CONFIG}'\n"
    (tmp_path / 'no_scale.py').write_text(base + 'auto_scale_lr = dict(_delete_=True)\n')
    (tmp_path / 'apex.py').write_text(
        base + "optim_wrapper = dict(type='ApexOptimWrapper')\n"
    )
    (tmp_path / 'no_root.py').write_text('model = dict()\n')
    config, *options = (argument.format(tmp=tmp_path) for argument in arguments)
    done = run_main(script, config, '--work-dir', tmp_path / 'run', *options)
    assert done.returncode and message.format(tmp=tmp_path) in done.stderr


def test_weights_that_cannot_be_downloaded(run_main, minibirds, tmp_path):
    url = 'http://127.0.0.1:9/r18.pth'
    (tmp_path / 'config.py').write_text(
        f"_base_ = '{REPO}/{CONFIG}'\n"
        f"init_cfg = dict(type='Pretrained', checkpoint='{url}')\n"
        'model = dict(backbone=dict(init_cfg=init_cfg))\n'
    )
    done = run_main(
        script,
        tmp_path / 'config.py',
        *('--work-dir', tmp_path / 'run', '--cfg-options', *TINY, f'data_root={minibirds}'),
    )
    assert done.returncode and url in done.stderr
    assert 'init_cfg.checkpoint=' in done.stderr


def test_options_of_the_command_line(run_main, minibirds, tmp_path):
    """One step with most of the flags, without workers and without validation."""
    done = run_main(
        script,
        CONFIG,
        *('--work-dir', tmp_path, '--no-validate', '--auto-scale-lr'),
        *('--no-pin-memory', '--no-persistent-workers', '--cfg-options', *TINY),
        *(f'data_root={minibirds}', 'train_cfg.max_epochs=1'),
        *('train_dataloader.num_workers=0', 'train_dataloader.batch_size=8'),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    text = done.stdout + done.stderr
    assert 'LR is set based on batch size of 16' in text
    assert 'Epoch(val)' not in text


@pytest.mark.gpu
def test_amp(run_main, minibirds, tmp_path):
    done = run_main(
        script,
        CONFIG,
        *('--work-dir', tmp_path, '--amp', '--cfg-options', *TINY),
        *(f'data_root={minibirds}', 'train_cfg.max_epochs=1'),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert np.isfinite(losses(tmp_path)[1]).all()
