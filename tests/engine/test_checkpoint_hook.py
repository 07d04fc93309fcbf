"""Trainings that end at any moment, and work directories that move."""

import itertools
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import MINIBIRDS_CONFIG, REPO, TINY
from mmengine.config import Config, DictAction
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from apcnn_mm.checkpoints import load_file

EPOCHS = 3
STEPS = 18  # four of training and two of validation in each epoch
WRITES = 14  # calls of fsync: a file and its folder for each checkpoint
_number = itertools.count()


class Killed(BaseException):
    """Like a kill, nothing catches it."""


class Watch(Hook):
    """Notes the validations, and can do something at one step of the training."""

    priority = 'LOWEST'

    def __init__(self, at=None, do=None):
        self.at, self.do, self.steps, self.validated = at, do, 0, []

    def _count(self, runner, *args, **kwargs):
        self.steps += 1
        if self.steps == self.at:
            self.do(runner)

    after_train_iter = after_val_iter = _count

    def after_val_epoch(self, runner, metrics=None):
        self.validated.append(runner.epoch)


def kill(*args):
    raise Killed


def train(minibirds, work_dir, watch=None, **options):
    """Train in this process for three epochs, of which the second is the best."""
    cfg = Config.fromfile(REPO / MINIBIRDS_CONFIG)
    tiny = (option.split('=') for option in TINY if 'custom_hooks' not in option)
    cfg.merge_from_dict({key: DictAction._parse_iterable(text) for key, text in tiny})
    for name in ('train', 'val'):
        loader = cfg[f'{name}_dataloader']
        loader.update(num_workers=0, persistent_workers=False, batch_size=4)
        loader.dataset.update(data_root=str(minibirds), serialize_data=False)
        loader.dataset.pipeline[1].scale = (36, 36)
        loader.dataset.pipeline[2].crop_size = 32
    cfg.val_dataloader.batch_size = 6
    cfg.train_cfg.update(max_epochs=EPOCHS, val_interval=1)
    cfg.default_hooks.checkpoint.update(save_best='localization/mIoU', max_keep_ckpts=2)
    cfg.update(work_dir=str(work_dir), experiment_name=f'train_{next(_number)}')
    cfg.merge_from_dict(options)
    watch = watch or Watch()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(watch)
    runner.train()
    return watch


@pytest.fixture(autouse=True, scope='module')
def quick():
    """Without mmengine's layout of the config's text, most of the time of a short run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Config, 'pretty_text', property(repr))
        patch.setattr(Runner, '_log_env', lambda *_: None)
        yield


@pytest.fixture(scope='module')
def unbroken(minibirds, tmp_path_factory):
    """The work directory of a training that nothing disturbed."""
    work_dir = tmp_path_factory.mktemp('unbroken')
    watch = train(minibirds, work_dir)
    assert watch.steps == STEPS and watch.validated == [1, 2, 3]
    return work_dir


@pytest.fixture
def copied(unbroken, tmp_path):
    return Path(shutil.copytree(unbroken, tmp_path / 'copied'))


def files(work_dir):
    return sorted(path.name for path in Path(work_dir).glob('*.pth*'))


def assert_same(folder, other):
    """The same files, with the same weights and the same best score."""
    assert files(folder) == files(other)
    for name in files(folder):
        weights, expected = (
            load_file(path / name)['state_dict'] for path in (folder, other)
        )
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[key], expected[key]) for key in weights), name
    hub, expected = (
        load_file(path / f'epoch_{EPOCHS}.pth')['message_hub']['runtime_info']
        for path in (folder, other)
    )
    for key in ('best_score', 'last_validation', 'keep_ckpt_ids'):
        assert hub[key] == expected[key], key


def test_unbroken(unbroken):
    assert files(unbroken) == [
        'best_localization_mIoU_epoch_2.pth',
        'epoch_2.pth',
        'epoch_3.pth',
    ]


# The last of them kills the last validation.
@pytest.mark.parametrize('at', [*np.random.default_rng(0).integers(1, STEPS, 3), STEPS])
def test_killed_at_any_step(minibirds, unbroken, tmp_path, at):
    killed = Watch(at, kill)
    with pytest.raises(Killed):
        train(minibirds, tmp_path, killed)
    resumed = train(minibirds, tmp_path, resume=bool(files(tmp_path)))
    assert_same(tmp_path, unbroken)
    # Nothing is validated twice, and nothing is left out.
    assert killed.validated + resumed.validated == [1, 2, 3]


@pytest.mark.parametrize('at', np.random.default_rng(1).integers(3, WRITES + 1, 3))
def test_killed_while_writing(minibirds, unbroken, tmp_path, monkeypatch, at):
    """A file that is written has lost its second half, or has not got its name yet."""
    calls = itertools.count(1)
    fsync = os.fsync

    def interrupted(descriptor):
        if next(calls) == at:
            if os.path.isfile(f'/proc/self/fd/{descriptor}'):
                os.truncate(descriptor, os.fstat(descriptor).st_size // 2)
            raise Killed
        fsync(descriptor)

    monkeypatch.setattr(os, 'fsync', interrupted)
    with pytest.raises(Killed):
        train(minibirds, tmp_path)
    monkeypatch.undo()
    for path in tmp_path.glob('*.pth'):
        load_file(path)
    train(minibirds, tmp_path, resume=True)
    assert_same(tmp_path, unbroken)


def test_old_checkpoints_go_when_the_new_one_is_there(minibirds, tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'fsync', lambda descriptor: None)
    replace, seen = os.replace, []

    def watched(source, target):
        seen.append(files(tmp_path))
        replace(source, target)

    monkeypatch.setattr(os, 'replace', watched)
    train(minibirds, tmp_path, **{'default_hooks.checkpoint.max_keep_ckpts': 1})
    for names in seen[1:]:
        assert any(name.startswith('epoch') and name.endswith('.pth') for name in names)
    for names in seen[2:]:
        assert any(name.startswith('best') and name.endswith('.pth') for name in names)


def damage(path, how):
    data = path.read_bytes()
    path.write_bytes(
        dict(empty=b'', zeros=bytes(len(data)), half=data[: len(data) // 2])[how]
    )


@pytest.mark.parametrize('how', ['empty', 'zeros', 'half', 'missing'])
def test_moved_and_damaged(minibirds, unbroken, copied, how, tmp_path, capfd):
    """A copy goes on from its own files, and does not touch the original's."""
    before = {path: path.read_bytes() for path in unbroken.glob('*.pth')}
    (copied / 'last_checkpoint').write_text(
        dict(
            empty=str(unbroken / 'epoch_3.pth'),
            zeros='C:\\birds\\work\\epoch_3.pth',
            half='',
            missing='/gone/epoch_3.pth',
        )[how]
    )
    if how == 'missing':
        (copied / 'epoch_3.pth').unlink()
    else:
        damage(copied / 'epoch_3.pth', how)
    watch = train(minibirds, copied, resume=True)
    text = ''.join(capfd.readouterr())
    assert f'{copied / "epoch_3.pth"} cannot be resumed' in text
    assert f'The newest checkpoint that can be read is {copied / "epoch_2.pth"}' in text
    assert watch.validated == [3]
    assert_same(copied, unbroken)
    assert before == {path: path.read_bytes() for path in unbroken.glob('*.pth')}


def test_a_damaged_best_checkpoint(minibirds, copied, capfd):
    """It neither stays nor keeps a later one from being the best."""
    damage(copied / 'best_localization_mIoU_epoch_2.pth', 'half')
    (copied / 'last_checkpoint').write_text('epoch_2.pth')
    (copied / 'epoch_1.pth.tmp').touch()
    train(minibirds, copied, resume=True)
    assert 'mIoU_epoch_2.pth is damaged' in ''.join(capfd.readouterr())
    load_file(copied / 'best_localization_mIoU_epoch_3.pth')
    assert not (copied / 'epoch_1.pth.tmp').exists()


def test_nothing_to_resume(minibirds, copied):
    for name in ('epoch_2.pth', 'epoch_3.pth'):
        damage(copied / name, 'half')
    with pytest.raises(FileNotFoundError, match='(?s)copied.*epoch_3.pth.*epoch_2.pth'):
        train(minibirds, copied, resume=True)


@pytest.mark.parametrize('resume', [True, False])
def test_code_is_not_run(minibirds, copied, tmp_path, resume):
    """Neither by a checkpoint that is named, nor by one that lies in the directory."""
    flag = tmp_path / 'flag'

    class Code:
        def __reduce__(self):
            return exec, (f'open({str(flag)!r}, "w")',)

    checkpoint = dict(load_file(copied / 'epoch_3.pth'), evil=Code())
    torch.save(checkpoint, copied / 'epoch_3.pth')
    options = dict(load_from=str(copied / 'epoch_3.pth'), resume=resume)
    with pytest.raises(ValueError, match='epoch_3.pth is refused'):
        train(minibirds, tmp_path / 'run', **options)
    if resume:
        assert train(minibirds, copied, resume=True).validated == [3]
    assert not flag.exists()


def test_a_validation_alone_saves_nothing():
    hook = HOOKS.build(dict(type='ResumableCheckpointHook', save_best='accuracy/top1'))
    hook.after_val_epoch(None, {'accuracy/top1': 50.0})


def spoil(runner):
    next(runner.model.parameters()).data[0] = float('nan')


@pytest.mark.parametrize(
    'at, message',
    [
        (8, 'Iteration 7: loss is nan'),  # in the middle of the second epoch
        (10, r'After iteration 8: backbone\..* is not finite'),  # its last step
    ],
)
def test_a_training_without_numbers_ends(minibirds, tmp_path, at, message):
    with pytest.raises(ValueError, match=message):
        train(minibirds, tmp_path, Watch(at, spoil))
    assert files(tmp_path) == ['best_localization_mIoU_epoch_1.pth', 'epoch_1.pth']
    for name in files(tmp_path):
        weights = load_file(tmp_path / name)['state_dict']
        # Before it is calibrated, a model accepts everything: its threshold is infinite.
        assert weights.pop('head.calibrator.threshold') == float('inf')
        assert all(torch.isfinite(value).all() for value in weights.values())
