"""The scripts that mmpretrain ships work with a config of this package, unchanged."""

import re
import runpy
import shutil
import sys
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import mmengine
import mmpretrain
import numpy as np
import pytest
import torch
from helpers import losses
from mmengine.config import Config
from mmengine.utils import digit_version
from mmpretrain import get_model
from mmpretrain.registry import DATASETS

from apcnn_mm.analysis.labels import held_out_folds

TOOLS = Path(mmpretrain.__file__).parent / '.mim/tools'


def run(script, *arguments):
    """Run one of mmpretrain's scripts in this process."""
    path = TOOLS / script
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [path.name, *map(str, arguments)])
        patch.setenv('LOCAL_RANK', '0')
        patch.setenv('WANDB_MODE', 'offline')
        patch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')  # mmengine's way, see docs/
        runpy.run_path(str(path), run_name='__main__')
    plt.close('all')


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def config(trained):
    return trained.work_dir / 'apcnn_r18_minibirds.py'


@pytest.fixture
def image(minibirds):
    return sorted(minibirds.glob('images/*/*.jpg'))[0]


@pytest.fixture(scope='module')
def tested(trained, tmp_path_factory):
    """What test.py writes: predictions and pictures."""
    folder = tmp_path_factory.mktemp('tested')
    run(
        'test.py',
        *(trained.work_dir / 'apcnn_r18_minibirds.py', trained.checkpoint),
        *('--work-dir', folder, '--out', folder / 'out.pkl', '--show-dir', folder / 'show'),
    )
    return folder


@pytest.fixture
def predictions(tested):
    return tested / 'out.pkl'


def test_train_resume_and_publish(config, tmp_path):
    """mmengine's own hook publishes, too, and needs no unsafe loading for it."""
    arguments = (config, '--work-dir', tmp_path, '--auto-scale-lr')
    options = ['--cfg-options', 'default_hooks.roi_visualization.interval=1']
    run('train.py', *arguments, *options, 'train_cfg.max_epochs=1')
    assert set(losses(tmp_path)) == {1}
    shutil.rmtree(next(tmp_path.glob('*/vis_data')).parent)
    options.append('default_hooks.checkpoint.published_keys=[meta,state_dict]')
    run('train.py', *arguments, '--resume', *options, 'train_cfg.max_epochs=2')
    assert set(losses(tmp_path)) == {2}
    (published,) = tmp_path.glob('epoch_2-*.pth')
    assert set(torch.load(published, weights_only=True)) == {'meta', 'state_dict'}


@pytest.mark.parametrize(
    ('backend', 'package', 'written'),
    [
        ('TensorboardVisBackend', 'tensorboard', 'events.out.tfevents.*'),
        ('WandbVisBackend', 'wandb', 'run-*.wandb'),
        ('MLflowVisBackend', 'mlflow', 'rois_1.png'),
    ],
)
def test_visual_backends(config, tmp_path, backend, package, written):
    pytest.importorskip(package)
    run(
        'train.py',
        *(config, '--work-dir', tmp_path, '--cfg-options', 'train_cfg.max_epochs=1'),
        'default_hooks.roi_visualization.interval=1',
        f'visualizer.vis_backends.0.type={backend}',
    )
    assert list(tmp_path.rglob(written))


def test_test(tested):
    predictions = mmengine.load(tested / 'out.pkl')
    assert len(predictions) == len(list(tested.glob('show/*.png'))) == 12
    for prediction in predictions:
        assert prediction['rois'].shape[1] == len(prediction['merged_box']) == 4


def test_test_time_augmentation(config, trained, tmp_path):
    arguments = (config, trained.checkpoint, '--work-dir', tmp_path, '--tta')
    run('test.py', *arguments, '--out', 'metrics.json', '--out-item', 'metrics')
    assert set(mmengine.load('metrics.json')) >= {'accuracy/top1', 'localization/mIoU'}


def test_kfold_cross_validation(config, tmp_path):
    arguments = (config, '--num-splits', 2, '--seed', 0, '--work-dir', tmp_path)
    options = ('--cfg-options', 'train_cfg.val_interval=1')
    run('kfold-cross-valid.py', *arguments, *options, 'train_cfg.max_epochs=1')
    assert len(list(tmp_path.glob('fold[01]/epoch_1.pth'))) == 2
    # What the report on labels takes.
    assert [len(samples) for _, samples in held_out_folds(tmp_path, {})] == [9, 9]
    # Only the last fold goes on.
    run('kfold-cross-valid.py', *arguments, '--resume', *options, 'train_cfg.max_epochs=2')
    assert [p.parent.name for p in tmp_path.glob('fold*/epoch_2.pth')] == ['fold1']


def test_analysis_of_logs(trained, capsys):
    (log,) = trained.work_dir.glob('*/vis_data/scalars.json')
    run('analysis_tools/analyze_logs.py', 'cal_train_time', log)
    assert 'average iter time' in capsys.readouterr().out
    keys = ('--keys', 'loss', 'accuracy/top1', '--out', 'curves.png')
    run('analysis_tools/analyze_logs.py', 'plot_curve', log, *keys)
    assert Path('curves.png').is_file()


def test_analysis_of_results(config, predictions):
    """The images of the predictions are found."""
    arguments = (config, predictions, '--out-dir', 'analysis')
    run('analysis_tools/analyze_results.py', *arguments)
    dataset = DATASETS.build(Config.fromfile(config).test_dataloader.dataset)
    wanted = {'success': set(), 'fail': set()}
    for i, prediction in enumerate(mmengine.load(predictions)):
        right = bool(prediction['pred_label'] == prediction['gt_label'])
        name = Path(dataset.get_data_info(i)['img_path']).name
        wanted['success' if right else 'fail'].add(f'{name}.png')
    for folder, names in wanted.items():
        assert {p.name for p in Path('analysis', folder).glob('*.png')} == names


def test_confusion_matrix(config, trained, predictions):
    """Of a checkpoint and of its predictions."""
    matrices = []
    for source in (trained.checkpoint, predictions):
        arguments = (config, source, '--out', 'matrix.pkl', '--show-path', 'matrix.png')
        run('analysis_tools/confusion_matrix.py', *arguments)
        assert Path('matrix.png').is_file()
        matrices.append(mmengine.load('matrix.pkl'))
    assert matrices[0].sum() == 12
    assert torch.equal(*matrices)


def test_offline_metrics(predictions, capsys):
    """A metric is given with its module: this script reads no config."""
    run(
        'analysis_tools/eval_metric.py',
        *(predictions, '--metric', 'type=Accuracy', 'topk=1,5'),
        *('--metric', 'type=apcnn_mm.evaluation.ObjectLocalization'),
    )
    printed = capsys.readouterr().out
    for name in ('accuracy/top1', 'accuracy/top5', 'localization/mIoU'):
        assert name in printed


def test_complexity(config, capsys):
    run('analysis_tools/get_flops.py', config, '--shape', 128)
    printed = capsys.readouterr().out
    parameters = sum(p.numel() for p in get_model(str(config)).parameters())
    (counted,) = re.findall(r'Params: ([\d.]+)M', printed)
    assert float(counted) == pytest.approx(parameters / 1e6, abs=1e-3)
    assert re.search(r'Flops: [1-9]', printed)


def test_printed_config(config, capsys):
    run('misc/print_config.py', config, '--cfg-options', 'model.stages=raw')
    printed = capsys.readouterr().out
    assert "type='APCNN'" in printed and "stages='raw'" in printed


def test_verification_of_a_data_set(config, minibirds, tmp_path):
    """The file that cannot be read is the one that is named."""
    script = 'misc/verify_dataset.py'
    run(script, config, '--out-path', 'broken.log')
    assert not Path('broken.log').exists()
    root = shutil.copytree(minibirds, tmp_path / 'minibirds')
    (path,) = root.glob('images/001.*/*_0001.jpg')
    path.write_bytes(path.read_bytes()[:50])
    option = f'train_dataloader.dataset.data_root={root}'
    run(script, config, '--out-path', 'broken.log', '--cfg-options', option)
    assert Path('broken.log').read_text() == f'{path}\n'


def test_schedule(config, tmp_path):
    """It trains on no data; other hooks than the custom ones it leaves out."""
    run('visualization/vis_scheduler.py', config, '--not-show', '--save-path', 'lr.png')
    hooks = ('DataCheckHook', 'EpochSeedHook', 'FiniteHook', 'ROIVisualizationHook')
    custom = tmp_path / 'custom.py'
    custom.write_text(
        f"_base_ = ['{config}']\ncustom_hooks = {[dict(type=hook) for hook in hooks]}\n"
    )
    arguments = (custom, '--not-show', '--parameter', 'momentum', '--dataset-size', 40)
    run('visualization/vis_scheduler.py', *arguments, '--save-path', 'momentum.png')
    assert {path.name for path in tmp_path.glob('*.png')} == {'lr.png', 'momentum.png'}


@pytest.mark.parametrize('stage', ['backbone', 'neck'])
def test_t_sne(config, trained, tmp_path, stage, request):
    sklearn = pytest.importorskip('sklearn')
    versions = [digit_version(module.__version__) for module in (mmpretrain, sklearn)]
    if versions[0] < digit_version('1.3') and versions[1] >= digit_version('1.7'):
        # It calls scikit-learn by an argument that has another name since.
        mark = pytest.mark.xfail(raises=TypeError, strict=True, reason='mmpretrain')
        request.applymarker(mark)
    run(
        'visualization/vis_tsne.py',
        *(config, '--checkpoint', trained.checkpoint, '--vis-stage', stage),
        *('--work-dir', tmp_path, '--device', 'cpu', '--perplexity', 3, '--n-iter', 250),
    )
    for level in (1, 2, 3):
        (path,) = tmp_path.glob(f'tsne_*/feat_{level}.npy')
        features = np.load(path)
        assert features.shape[0] == 12 and np.isfinite(features).all()
        assert path.with_suffix('.png').is_file()


@pytest.mark.parametrize(
    'options',
    [
        ['--method', 'GradCAM'],
        ['--method', 'GradCAM++', '--target-layers', 'backbone.layer3'],
        ['--method', 'EigenCAM', '--target-category', '2'],
    ],
)
def test_class_activation_maps(config, trained, image, options):
    pytest.importorskip('pytorch_grad_cam')
    arguments = (image, config, trained.checkpoint, '--save-path', 'cam.png')
    run('visualization/vis_cam.py', *arguments, *options)
    assert plt.imread('cam.png').shape == (128, 128, 3)


def test_published_checkpoint(config, trained, tmp_path, monkeypatch):
    """PyTorch 2.6 and later refuse mmengine's checkpoints, unless they are told."""
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    run('model_converters/publish_model.py', trained.checkpoint, 'published.pth')
    monkeypatch.delenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD')
    (path,) = tmp_path.glob('published_*.pth')
    assert 'optimizer' not in torch.load(path, weights_only=True)
    published, whole = (
        get_model(str(config), str(file), device='cpu')
        for file in (path, trained.checkpoint)
    )
    assert published._dataset_meta == whole._dataset_meta
    for ours, theirs in zip(published.state_dict().values(), whole.state_dict().values()):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize('mode', ['original', 'transformed', 'concat', 'pipeline'])
def test_pictures_of_a_data_set(config, request, mode):
    if mode != 'original' and digit_version(matplotlib.__version__) >= digit_version(
        '3.11'
    ):
        # It calls a private function of matplotlib, which has an argument more since.
        mark = pytest.mark.xfail(raises=TypeError, strict=True, reason='mmpretrain')
        request.applymarker(mark)
    arguments = (config, '--not-show', '--output-dir', 'shown', '--mode', mode)
    run('visualization/browse_dataset.py', *arguments, '--show-number', 2)
    assert len(list(Path('shown').iterdir())) == 2
