"""The configs by name, and a distribution that holds what mmpretrain's own do."""

import os
import shutil
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

import mmpretrain
import pytest
import torch
import yaml
from helpers import REPO, TINY, build_model, run_python
from mmengine.config import Config

import apcnn_mm.cli
from apcnn_mm import __main__ as report
from apcnn_mm.model_zoo import MIM
from tools.analysis.get_complexity import count_multiply_adds, count_parameters

METAFILE = yaml.safe_load((REPO / 'configs/metafile.yml').read_text())
MODELS = {entry['Name']: entry for entry in METAFILE['Models']}


def test_every_config_has_its_entry():
    leaves = {path.stem for path in (REPO / 'configs').glob('*.py')}
    assert set(MODELS) == leaves
    for name, entry in MODELS.items():
        assert (MIM / entry['Config']).samefile(REPO / 'configs' / f'{name}.py')
        assert entry['In Collection'] == METAFILE['Collections'][0]['Name']
        assert 'Weights' not in entry  # there are none


@pytest.mark.parametrize('name', MODELS)
def test_parameters(name):
    model = build_model(f'{name}.py')
    assert sum(count_parameters(model).values()) == MODELS[name]['Metadata']['Parameters']


@pytest.mark.parametrize(
    'name',
    # One of each architecture: the others differ in the last layer.
    [
        'apcnn_convnext_cub',
        'apcnn_efficientnet_lite0_cub_224',
        'apcnn_mobilenetv2_cub_224',
        'apcnn_r18_minibirds',
        'apcnn_r50_cub',
        'apcnn_vgg19_cub',
    ],
)
def test_multiply_adds(name):
    metadata = MODELS[name]['Metadata']
    size = metadata['Image Size']
    counts = count_multiply_adds(build_model(f'{name}.py'), (size, size))
    assert sum(counts.values()) == metadata['FLOPs']


@pytest.mark.parametrize('name', MODELS)
def test_image_size_is_the_configs(name):
    """The last size of the test pipeline."""
    pipeline = Config.fromfile(
        MIM / MODELS[name]['Config']
    ).test_dataloader.dataset.pipeline
    sizes = [
        step.get('crop_size', step.get('scale'))
        for outer in pipeline
        for step in outer.get('transforms', [outer])
        if step.type in ('CenterCrop', 'AntialiasedResize')
    ]
    size = MODELS[name]['Metadata']['Image Size']
    assert sizes[-1] in (size, (size, size), [size, size])


def test_accuracies_of_the_paper():
    """Table 1, two stages; nothing else is marked as the paper's."""
    marked = {
        name: metrics['Top 1 Accuracy (paper)']
        for name, entry in MODELS.items()
        if 'Top 1 Accuracy (paper)' in (metrics := entry['Results'][0]['Metrics'])
    }
    assert marked == dict(
        apcnn_r50_cub=88.4,
        apcnn_r50_cars=95.4,
        apcnn_r50_aircraft=94.1,
        apcnn_vgg19_cub=86.7,
        apcnn_vgg19_cars=94.6,
        apcnn_vgg19_aircraft=92.9,
    )


def test_names_in_mmpretrain():
    assert mmpretrain.list_models('apcnn*') == sorted(MODELS)
    assert mmpretrain.list_models('apcnn', task='Image Classification') == sorted(MODELS)
    model = mmpretrain.get_model('apcnn_r18_minibirds')
    assert type(model).__name__ == 'APCNN' and model.head.num_classes == 10


def test_inference_by_name(minibirds, tmp_path):
    """With weights of one's own."""
    weights = mmpretrain.get_model('apcnn_r18_minibirds').state_dict()
    torch.save(dict(state_dict=weights), tmp_path / 'weights.pth')
    image = str(next(minibirds.glob('images/*/*.jpg')))
    result = mmpretrain.inference_model(
        'apcnn_r18_minibirds', image, pretrained=str(tmp_path / 'weights.pth')
    )
    assert result['pred_scores'].shape == (10,)
    model = mmpretrain.get_model(
        'apcnn_r18_minibirds', pretrained=str(tmp_path / 'weights.pth')
    )
    again = mmpretrain.inference_model(model, image)
    assert again['pred_label'] == result['pred_label']


def test_no_model_index(monkeypatch, tmp_path):
    """A checkout by a system without links can be imported."""
    monkeypatch.setattr('apcnn_mm.model_zoo.MIM', tmp_path)
    apcnn_mm.model_zoo.register_models()


def test_commands(monkeypatch, capsys):
    config = ConfigParser()
    config.read(REPO / 'setup.cfg')
    entries = config['options.entry_points']['console_scripts'].split('\n')[1:]
    assert len(entries) == 9
    for entry in entries:
        command, target = entry.split(' = ')
        monkeypatch.setattr(sys, 'argv', [command, '--help'])
        monkeypatch.setattr(sys, 'path', sys.path.copy())
        with pytest.raises(SystemExit) as end:
            getattr(apcnn_mm.cli, target.split(':')[1])()
        assert end.value.code == 0
        assert capsys.readouterr().out.startswith('usage: ')


def test_report(capsys):
    report.main()
    output = capsys.readouterr().out
    for word in ('apcnn_mm: ', 'Configs: ', 'mmcv: ', 'PyTorch: ', 'CUDA available: '):
        assert word in output
    assert f'Tools: {REPO / "tools"}' in output


def test_links_are_no_copies():
    for name in ('configs', 'tools', 'model-index.yml'):
        assert (MIM / name).is_symlink()
        assert (MIM / name).resolve() == REPO / name


@pytest.fixture(scope='module')
def distributions(tmp_path_factory):
    """A source distribution, and the wheel that is built from it, as they unpack."""
    source = tmp_path_factory.mktemp('source')
    for name in ('apcnn_mm', 'apcnn_runtime', 'configs', 'tools'):
        shutil.copytree(REPO / name, source / name, symlinks=True)
    for name in ('LICENSE', 'MANIFEST.in', 'README.md', 'model-index.yml'):
        shutil.copy(REPO / name, source)
    for name in ('pyproject.toml', 'setup.cfg'):
        shutil.copy(REPO / name, source)

    def build(kind, cwd):
        """What pip and ``python -m build`` ask of setuptools."""
        out = tmp_path_factory.mktemp(kind)
        code = f'from setuptools import build_meta; build_meta.build_{kind}({str(out)!r})'
        done = run_python('-c', code, cwd=cwd)
        assert done.returncode == 0, done.stderr
        (archive,) = out.iterdir()
        return archive

    unpacked = tmp_path_factory.mktemp('unpacked')
    with tarfile.open(build('sdist', source)) as archive:
        assert all(member.isfile() or member.isdir() for member in archive.getmembers())
        archive.extractall(unpacked / 'sdist')
    (sdist,) = (unpacked / 'sdist').iterdir()
    with zipfile.ZipFile(build('wheel', sdist)) as archive:
        archive.extractall(unpacked / 'wheel')
    return sdist, unpacked / 'wheel'


def files(folder):
    return {
        path.relative_to(folder)
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


def test_files_of_distributions(distributions):
    expected = {
        name / path
        for name in (Path('configs'), Path('tools'))
        for path in files(REPO / name)
    }
    # They set up and test a checkout.
    expected -= {Path('tools', f'{name}.sh') for name in ('demo', 'run_tests', 'setup_env')}
    for unpacked in distributions:
        assert files(unpacked / 'apcnn_mm/.mim') == {*expected, Path('model-index.yml')}
        for name in ('py.typed', 'analysis/templates/index.html'):
            assert (unpacked / 'apcnn_mm' / name).is_file()
        assert files(unpacked / 'apcnn_runtime') == files(REPO / 'apcnn_runtime')


def test_training_from_the_wheel(distributions, minibirds, tmp_path):
    """By its command, with its config, in another directory."""
    code = (
        'import sys; from apcnn_mm import cli; from apcnn_mm.model_zoo import MIM;'
        'sys.argv[1:1] = [str(MIM / "configs/apcnn_r18_minibirds.py")]; cli.train()'
    )
    options = [*TINY, f'data_root={minibirds}', 'train_cfg.max_epochs=1']
    done = run_python(
        *('-c', code, '--work-dir', tmp_path / 'run', '--cfg-options', *options),
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(distributions[1])},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / 'run/epoch_1.pth').is_file()
