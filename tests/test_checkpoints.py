"""Checkpoints from strangers are read, but never run; damaged ones are called so."""

import pathlib
from collections import OrderedDict

import numpy as np
import pytest
import torch
from helpers import MINIBIRDS_CONFIG, REPO
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader, load_checkpoint

from apcnn_mm.apis import APCNNInferencer
from apcnn_mm.checkpoints import TRUST, load_file


class Code:
    """Any call of a function, as a pickle."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def touch(flag):
    return Code(exec, f'import pathlib; pathlib.Path({str(flag)!r}).touch()')


@pytest.fixture(autouse=True)
def untrusted(monkeypatch):
    monkeypatch.delenv(TRUST, raising=False)


@pytest.fixture
def checkpoint():
    """The kinds of values in a checkpoint of mmengine's."""
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    return dict(
        meta=dict(epoch=1, seed=np.int64(3), dataset_meta=dict(classes=('jay', 'wren'))),
        state_dict=OrderedDict(weight=torch.arange(6.0).reshape(2, 3)),
        message_hub=dict(
            log_scalars=OrderedDict({'train/loss': history}),
            runtime_info=OrderedDict(best_score=np.float64(0.5), palette=np.eye(2)),
        ),
        optimizer=dict(state={0: dict(step=torch.tensor(1.0))}, param_groups=[]),
    )


def test_a_training_is_read(checkpoint, tmp_path):
    path = tmp_path / 'epoch_1.pth'
    for options in ({}, dict(_use_new_zipfile_serialization=False)):
        torch.save(checkpoint, path, **options)
        loaded = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
        hub = loaded['message_hub']
        assert hub['log_scalars']['train/loss'].mean() == 1.5
        assert hub['runtime_info']['best_score'] == 0.5
        assert np.array_equal(hub['runtime_info']['palette'], np.eye(2))
        assert loaded['meta'] == checkpoint['meta']
        assert torch.equal(loaded['state_dict']['weight'][1], torch.tensor([3.0, 4, 5]))


@pytest.mark.parametrize('new_format', [True, False])
def test_code_is_refused(checkpoint, tmp_path, new_format, monkeypatch):
    path, flag = tmp_path / 'evil.pth', tmp_path / 'flag'
    checkpoint['state_dict']['bias'] = touch(flag)
    torch.save(checkpoint, path, _use_new_zipfile_serialization=new_format)
    for load in (load_file, CheckpointLoader.load_checkpoint):
        with pytest.raises(ValueError, match=f'evil.pth is refused.*exec.*{TRUST}=1'):
            load(str(path))
    assert not flag.exists()
    monkeypatch.setenv(TRUST, '1')
    CheckpointLoader.load_checkpoint(str(path))
    assert flag.exists()


def test_getattr_is_no_way_out(checkpoint, tmp_path):
    """mmengine declares it safe, and with it the variables of any module are in reach."""
    path = str(tmp_path / 'evil.pth')
    variables = Code(getattr, Code(getattr, HistoryBuffer, 'update'), '__globals__')
    for step in (variables, Code(getattr, HistoryBuffer, '__init__')):
        torch.save(dict(checkpoint, evil=step), path)
        with pytest.raises(ValueError, match='refused.*getattr'):
            CheckpointLoader.load_checkpoint(path)


def test_every_source_is_safe(checkpoint, tmp_path, monkeypatch):
    """URLs and model zoos come through PyTorch's cache, which is filled here."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    cache, flag = tmp_path / 'hub' / 'checkpoints', tmp_path / 'flag'
    cache.mkdir(parents=True)
    torch.save(dict(checkpoint, evil=touch(flag)), cache / 'resnet50-0676ba61.pth')
    for source in (
        'http://127.0.0.1:9/resnet50-0676ba61.pth',
        'https://127.0.0.1:9/resnet50-0676ba61.pth',
        'torchvision://resnet50',
        'modelzoo://resnet50',
    ):
        with pytest.raises(ValueError, match='resnet50-0676ba61.pth is refused'):
            CheckpointLoader.load_checkpoint(source)
    torch.save(checkpoint, cache / 'resnet50-0676ba61.pth')
    assert CheckpointLoader.load_checkpoint('torchvision://resnet50')['optimizer']
    assert all(hasattr(load, '__wrapped__') for load in CheckpointLoader._schemes.values())
    assert not flag.exists()


def test_initial_weights_are_safe(checkpoint, tmp_path):
    path, flag = str(tmp_path / 'weights.pth'), tmp_path / 'flag'
    torch.save(dict(checkpoint, evil=touch(flag)), path)
    module = BaseModule(dict(type='Pretrained', checkpoint=path))
    with pytest.raises(ValueError, match='weights.pth is refused'):
        module.init_weights()
    with pytest.raises(ValueError, match='weights.pth is refused'):
        load_checkpoint(module, path)
    assert not flag.exists()


def test_predictions_are_safe(checkpoint, tmp_path):
    """Neither code nor damage is taken for a checkpoint of another model."""
    config, flag = str(REPO / MINIBIRDS_CONFIG), tmp_path / 'flag'
    torch.save(dict(checkpoint, evil=touch(flag)), tmp_path / 'evil.pth')
    with pytest.raises(ValueError, match='evil.pth is refused'):
        APCNNInferencer(config, str(tmp_path / 'evil.pth'))
    assert not flag.exists()
    (tmp_path / 'half.pth').write_bytes((tmp_path / 'evil.pth').read_bytes()[:700])
    with pytest.raises(ValueError, match='half.pth is damaged'):
        APCNNInferencer(config, str(tmp_path / 'half.pth'))
    torch.save(checkpoint, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match='other.pth is not one of the model'):
        APCNNInferencer(config, str(tmp_path / 'other.pth'))


def test_text_in_a_checkpoint_is_not_run(checkpoint, tmp_path):
    """mmengine runs the config in the meta data of old checkpoints when it resumes."""
    checkpoint['meta']['config'] = 'raise SystemExit'
    torch.save(checkpoint, tmp_path / 'old.pth')
    assert 'config' not in load_file(tmp_path / 'old.pth')['meta']


def test_other_code_loads_as_before(checkpoint, tmp_path):
    """Only mmengine's loaders change, and what others declared safe stays so."""
    path = tmp_path / 'module.pth'
    torch.save(torch.nn.Linear(1, 1), path)
    with pytest.raises(ValueError, match='refused'):
        CheckpointLoader.load_checkpoint(str(path))
    assert isinstance(torch.load(path, weights_only=False), torch.nn.Linear)
    if hasattr(torch.serialization, 'safe_globals'):
        before = set(torch.serialization.get_safe_globals())
        with torch.serialization.safe_globals([pathlib.PurePosixPath]):
            torch.save(pathlib.PurePosixPath('a'), path)
            assert CheckpointLoader.load_checkpoint(str(path)).name == 'a'
        assert set(torch.serialization.get_safe_globals()) == before


DAMAGES = dict(
    empty=lambda data: b'',
    zeros=lambda data: bytes(len(data)),
    half=lambda data: data[: len(data) // 2],
    short=lambda data: data[:-1],
    page=lambda data: b'<html>not found</html>',
    start=lambda data: b'PK',
    hole=lambda data: data[:1500] + bytes(500) + data[2000:],
)


@pytest.mark.parametrize('damage', DAMAGES)
@pytest.mark.parametrize('new_format', [True, False])
def test_damage(tmp_path, damage, new_format):
    path = tmp_path / 'epoch_3.pth'
    weights = dict(state_dict=dict(weight=torch.ones(1000)))
    torch.save(weights, path, _use_new_zipfile_serialization=new_format)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    if damage == 'hole' and not new_format:
        load_file(path)  # the format of old has no checksums
        return
    with pytest.raises(ValueError, match=f'{path} is damaged or no checkpoint'):
        load_file(path)


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path / 'none.pth')):
        load_file(tmp_path / 'none.pth')
