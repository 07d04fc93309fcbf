import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers import CAN_EXPORT, REPO, WITHOUT_TORCH, run_python
from PIL import Image

from apcnn_mm.apis import APCNNInferencer, export
from apcnn_mm.apis.deployed_model import DeployedModel
from apcnn_mm.apis.export import MINIMUM_TORCH
from apcnn_mm.apis.export_formats import FORMATS, read_onnx, set_threshold
from apcnn_runtime.onnx_model import ONNXModel, Prepared
from tools import predict
from tools.analysis import benchmark
from tools.deployment import export as script
from tools.deployment import predict_onnx

needs_new_torch = pytest.mark.skipif(
    not CAN_EXPORT, reason=f'to export to ONNX takes PyTorch {MINIMUM_TORCH}'
)


@pytest.fixture(scope='module')
def inferencer(trained):
    return APCNNInferencer(
        trained.work_dir / 'apcnn_r18_minibirds.py', trained.checkpoint, device='cpu'
    )


def test_what_an_onnx_file_tells(exported, inferencer):
    onnx.checker.check_model(onnx.load(exported), full_check=True)
    assert b'apcnn_mm/models' not in exported.read_bytes()  # nor whose folder that was in
    session = onnxruntime.InferenceSession(exported)
    shapes = {x.name: x.shape for x in (*session.get_inputs(), *session.get_outputs())}
    for level in range(3):
        n, *sides = shapes.pop(f'attention_{level}')
        assert n == 'N' and len(sides) == 2
    assert shapes == dict(
        images=['N', 'H', 'W', 3],
        **dict.fromkeys(['scores', 'raw_scores', 'refined_scores'], ['N', 6]),
        **dict.fromkeys(['novelty', 'accepted'], ['N']),
        rois=['N', 9, 4],
        roi_scores=['N', 9],
        roi_valid=['N', 9],
        merged_box=['N', 4],
    )
    metadata = json.loads(session.get_modelmeta().custom_metadata_map['apcnn_mm'])
    assert metadata['classes'] == list(inferencer.classes)
    assert metadata['roi_levels'] == [0] * 5 + [1] * 3 + [2]
    assert (metadata['resize'], metadata['crop']) == ([144, 144], [128, 128])
    assert (metadata['stage'], metadata['multiple']) == ('both', 32)
    assert (metadata['temperature'], metadata['has_threshold']) == (1, False)
    assert metadata['mean'] == pytest.approx([123.675, 116.28, 103.53])
    assert metadata['std'] == pytest.approx([58.395, 57.12, 57.375])
    for size in ((100, 128), (128, 100)):
        with pytest.raises(Exception):  # noqa: B017
            session.run(None, dict(images=np.zeros((1, *size, 3), np.uint8)))


@pytest.mark.parametrize('n, height, width', [(1, 64, 192), (5, 256, 96)])
def test_parity_at_any_size(exported, inferencer, n, height, width):
    """With what the whole model says, data preprocessor included."""
    pictures = np.random.default_rng(n).integers(256, size=(n, height, width, 3))
    read = [Prepared((width, height), x.astype(np.uint8), None) for x in pictures]
    outputs = ONNXModel(str(exported)).run(read)
    bgr = torch.tensor(pictures).permute(0, 3, 1, 2).flip(1)
    with torch.no_grad():
        samples = inferencer.model.test_step(dict(inputs=list(bgr.byte())))
    for i, sample in enumerate(samples):
        found = {name: torch.tensor(output[i]) for name, output in outputs.items()}
        valid = found['roi_valid']
        torch.testing.assert_close(found['rois'][valid], sample.rois)
        torch.testing.assert_close(found['roi_scores'][valid], sample.roi_scores)
        torch.testing.assert_close(found['merged_box'], sample.merged_box)
        for level, attention in enumerate(sample.attention):
            torch.testing.assert_close(found[f'attention_{level}'], attention)
        torch.testing.assert_close(found['scores'], sample.pred_score)
        stages = torch.stack([found['raw_scores'], found['refined_scores']])
        torch.testing.assert_close(stages, sample.stage_scores)
        torch.testing.assert_close(found['novelty'], sample.novelty, atol=1e-5, rtol=1e-4)
        assert found['accepted'] == sample.accepted


@pytest.fixture
def pictures(tmp_path):
    """Pictures of the size that the pipeline resizes to, a photograph, and no picture."""
    folder = tmp_path / 'pictures'
    (folder / 'sub').mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i, shape in enumerate([(144, 144, 3), (144, 144, 4), (144, 144)]):
        pixels = rng.integers(256, size=shape, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / 'sub' / f'{i}.png')
    grey = rng.integers(2**16, size=(144, 144), dtype=np.uint16)
    Image.fromarray(grey).save(folder / '16 bits.png')
    (folder / 'empty.jpg').touch()
    return folder


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_lines_of_predict_without_pytorch(
    exported, trained, pictures, tmp_path, run_main
):
    out = tmp_path / 'onnx.jsonl'
    done = run_python(
        *('-c', WITHOUT_TORCH, 'tools/deployment/predict_onnx.py', pictures, exported),
        *('--out', out, '--batch-size', '2', '--top-k', '3'),
    )
    assert done.returncode == 0, done.stderr
    done = run_main(
        predict,
        *(pictures, trained.work_dir / 'apcnn_r18_minibirds.py', trained.checkpoint),
        *('--out', tmp_path / 'torch.jsonl', '--top-k', 3, '--num-workers', 0),
    )
    assert done.returncode == 0, done.stderr
    check_lines(read(out), read(tmp_path / 'torch.jsonl'))


@needs_new_torch
def test_a_second_look_at_the_originals(trained, pictures, tmp_path, run_main, monkeypatch):
    """In a cascade; a batch has pictures smaller and larger than those that are kept."""
    rng = np.random.default_rng(1)
    (pictures / '16 bits.png').unlink()
    for name, side in (('small', 150), ('large', 400)):
        grid = rng.integers(256, size=(2, side // 10, 3), dtype=np.uint8)
        image = Image.fromarray(grid).resize((side, side // 2), Image.Resampling.BILINEAR)
        image.save(pictures / f'{name}.png')
    monkeypatch.setenv('ABLATION_BASE', str(trained.work_dir / 'apcnn_r18_minibirds.py'))
    model = ['configs/ablation/refine_original.py', trained.checkpoint]
    pipeline = 'test_dataloader.dataset.pipeline'
    options = [
        '--cfg-options',
        f'{pipeline}.0.scale_hint=200',
        f'{pipeline}.1.max_size=200',
    ]
    options += ['model.roi_generator.topk=(1,1,1)']
    options += ['model.test_cfg.stage=cascade', 'model.test_cfg.threshold=1']
    done = run_main(script, *model, '--out', tmp_path / 'model.onnx', *options)
    assert done.returncode == 0, done.stderr
    torch_lines, lines = tmp_path / 'torch.jsonl', tmp_path / 'onnx.jsonl'
    done = run_main(predict, pictures, *model, '--out', torch_lines, *options)
    assert done.returncode == 0, done.stderr
    done = run_main(predict_onnx, pictures, tmp_path / 'model.onnx', '--out', lines)
    assert done.returncode == 0, done.stderr
    check_lines(read(lines), read(torch_lines))


def check_lines(lines, expected):
    """Those of pictures that are not resized are the same, those of others almost."""
    assert len(lines) == len(expected) >= 5
    for line, other in zip(lines, expected):
        if other['error']:
            assert line.keys() == other.keys() and line['image'] == other['image']
            continue
        is_resized = (line['width'], line['height']) != (144, 144)
        near = dict(abs=0.02) if is_resized else dict(rel=1e-4)
        assert list(line) == list(other)
        for key in ('image', 'width', 'height', 'accepted', 'error'):
            assert line[key] == other[key]
        assert line['novelty'] == pytest.approx(other['novelty'], **near)
        assert line['ranks'].keys() == other['ranks'].keys() == {'class', 'genus', 'family'}
        sure, wanted = ((x['rollup'] or {}).get('name') for x in (line, other))
        assert sure == wanted
        told, wanted = (
            [*(x[key] for key in ('top', 'raw', 'refined')), *x['ranks'].values()]
            for x in (line, other)
        )
        for ours, theirs in zip(told, wanted, strict=True):
            ours, theirs = (
                {best['name']: best['score'] for best in names} for names in (ours, theirs)
            )
            if not is_resized:
                assert list(ours) == list(theirs)
            assert ours == pytest.approx(theirs, **near)
        assert len(line['rois']) == len(other['rois'])
        boxes, other_boxes = (
            [*(roi['box'] for roi in x['rois']), x['merged_box']] for x in (line, other)
        )
        for box, other_box in zip(boxes, other_boxes, strict=True):
            assert box == pytest.approx(other_box, abs=1e-3 if is_resized else None)
        for roi, other_roi in zip(line['rois'], other['rois']):
            assert roi['level'] == other_roi['level']


def test_pictures_are_read_alike(exported, inferencer, tmp_path):
    """A turned photograph that grows, and one that shrinks, to within a grey level."""
    model = ONNXModel(str(exported))
    y, x = np.mgrid[:300, :200] / 100
    waves = [np.sin(3 * x + y), np.cos(2 * y), np.sin(x * y)]
    photograph = (127 + 80 * np.stack(waves, axis=-1)).astype(np.uint8)
    for name, size in (('small', (90, 60)), ('large', (300, 200))):
        image = Image.fromarray(photograph[: size[0], : size[1]])
        exif = image.getexif()
        exif[0x0112] = 6  # turned by 90 degrees
        path = tmp_path / f'{name}.jpg'
        image.save(path, exif=exif, quality=95)
        picture = model.read(str(path))
        assert picture.size == size
        data = inferencer.load(str(path))
        expected = data['inputs'].permute(1, 2, 0).flip(-1).numpy().astype(int)
        difference = np.abs(picture.pixels - expected)
        assert difference.mean() < 0.5 and difference.max() <= 3


def test_mistakes_of_predict_onnx(exported, pictures, tmp_path, run_main):
    out = tmp_path / 'out.jsonl'
    (tmp_path / 'none.onnx').write_text('none')
    for arguments, message in (
        ((pictures, tmp_path / 'none.onnx'), 'none.onnx is no ONNX model'),
        ((pictures, tmp_path / 'absent.onnx'), 'there is no file'),
        ((tmp_path / 'absent', exported), 'there is no'),
        ((pictures, exported, '--top-k', '0'), '--top-k must be at least 1'),
    ):
        done = run_main(predict_onnx, *arguments, '--out', out)
        assert done.returncode and message in done.stderr, message
    assert not out.exists()
    done = run_main(predict_onnx, pictures / 'empty.jpg', exported, '--out', out)
    assert done.returncode == 1 and 'No image could be predicted' in done.stderr
    out.unlink()
    (tmp_path / 'list.txt').write_text(f'{pictures}/sub/0.png\n')
    for _ in range(2):
        done = run_main(predict_onnx, tmp_path / 'list.txt', exported, '--out', out)
        assert done.returncode == 0 and len(read(out)) == 1
    assert '1 images are in' in done.stdout
    for _ in range(2):
        table = tmp_path / 'out.csv'
        done = run_main(predict_onnx, tmp_path / 'list.txt', exported, '--out', table)
        assert done.returncode == 0 and len(table.read_text().splitlines()) == 2
    assert read(tmp_path / 'out.csv.jsonl') == read(out)
    (tmp_path / 'out.csv.jsonl').unlink()
    done = run_main(predict_onnx, tmp_path / 'list.txt', exported, '--out', table)
    assert done.returncode == 2 and 'is there already' in done.stderr


STAGE_OUTPUTS = dict(
    both=['scores', 'raw_scores', 'refined_scores'],
    raw=['scores', 'raw_scores'],
    refined=['scores', 'refined_scores'],
)
ROI_OUTPUTS = ['rois', 'roi_scores', 'roi_valid', 'merged_box']
ROI_OUTPUTS += [f'attention_{level}' for level in range(3)]
ONE_STAGE = dict(stages='raw', roi_generator=None)
FEW_ROIS = {'roi_generator.topk': (1, 1, 1)}  # which take half the time


@pytest.mark.parametrize(
    'format, stage, options',
    [
        pytest.param('onnx', 'raw', ONE_STAGE, marks=needs_new_torch),
        pytest.param('exported_program', 'both', FEW_ROIS, marks=needs_new_torch),
        ('torchscript', 'both', {}),
        ('torchscript', 'both', {'neck.spatial': 'pathway'}),
        ('torchscript', 'both', {'neck.spatial_gate': 'foreground'}),
        ('torchscript', 'refined', dict(refine_at='input')),
        ('torchscript', 'raw', dict(refine_at='original')),
        ('torchscript', 'raw', {}),
        ('torchscript', 'raw', ONE_STAGE),
        ('torchscript', 'raw', {**ONE_STAGE, 'neck.spatial': None}),
    ],
)
def test_formats_and_models(tiny_model, tmp_path, format, stage, options):
    """Each is compared with the model, and takes normalised images as well."""
    torch.manual_seed(0)
    model = tiny_model(test_cfg=dict(stage=stage), **options).eval()
    images = torch.randn(4, 3, 160, 64)
    model.head.calibrator.temperature.fill_(1.7)
    with torch.no_grad():
        novelty = model(images, mode='predict')[0].novelty
        model.head.calibrator.threshold.copy_(novelty)
        samples = model(images, mode='predict')
    path = tmp_path / 'model.file'
    export.export(model, str(path), (64, 96), format, preprocess=False)
    run = FORMATS[format][1](str(path))
    names = DeployedModel(model).output_names
    rois = ROI_OUTPUTS if options.get('roi_generator', True) else []
    assert names == STAGE_OUTPUTS[stage] + ['novelty', 'accepted'] + rois
    with torch.no_grad():
        found = dict(zip(names, map(torch.as_tensor, run(images=images))))
    scores = torch.stack([sample.pred_score for sample in samples])
    torch.testing.assert_close(found['scores'], scores, atol=1e-5, rtol=1e-4)
    # The first one is the threshold itself.
    accepted = torch.stack([sample.accepted for sample in samples])
    assert torch.equal(found['accepted'][1:], accepted[1:])


@needs_new_torch
def test_a_cascade(tiny_model, tmp_path, capfd):
    """Refines the same images as the model, also all of them, or none."""
    torch.manual_seed(0)
    model = tiny_model(test_cfg=dict(stage='cascade', threshold=0.5), **FEW_ROIS).eval()
    for classifier in model.head.classifiers:  # or all images would look alike
        classifier.fc.weight.data.mul_(20)
    images = torch.randn(6, 3, 64, 96)
    model.threshold = 1
    with torch.no_grad():
        samples = model(images, mode='predict')
        raw = torch.stack([sample.stage_scores[0] for sample in samples]).amax(dim=1)
        confidence = raw.sort().values
    metadata = dict(classes=None, resize=[96, 64], crop=[64, 96])
    path = str(tmp_path / 'model.onnx')
    model.threshold = 0.5  # which is also another constant of the graph
    export.export(model, path, (64, 96), preprocess=False, metadata=metadata)
    with open(path, 'rb') as file:
        assert b'apcnn_mm/models' not in file.read()
    assert 'should be removed' not in capfd.readouterr().err  # by ONNX Runtime
    some = (confidence[2] + confidence[3]).item() / 2
    for threshold, number in ((some, 3), (0, 0), (1, 6)):
        model.threshold = threshold
        with torch.no_grad():
            samples = model(images, mode='predict')
        outputs = read_onnx(set_threshold(path, threshold))(images=images)
        found = dict(zip(DeployedModel(model).output_names, map(torch.as_tensor, outputs)))
        scores = torch.stack([sample.pred_score for sample in samples])
        torch.testing.assert_close(found['scores'], scores, atol=1e-5, rtol=1e-4)
        refined = [len(sample.stage_scores) == 2 for sample in samples]
        assert found['is_refined'].tolist() == refined
        assert sum(refined) == number
    for share, number in ((0, 0), (0.5, 3), (1, 6)):
        step = benchmark.onnx_row(path, images, 1, share).step
        outputs = dict(zip(DeployedModel(model).output_names, step()))
        assert outputs['is_refined'].sum() == number


def test_originals_in_torchscript(tiny_model, tmp_path):
    """The comparison with the model has pictures of other sizes than the traced ones."""
    path = str(tmp_path / 'model.pt')
    model = tiny_model(refine_at='original')
    export.export(model, path, (64, 96), 'torchscript')
    inputs = DeployedModel(model).random_inputs(3, (64, 64), seed=5)
    scores, *others = torch.jit.load(path)(**inputs)
    inputs['originals'] = inputs['originals'].flip(0)
    scores_of_others, *_ = torch.jit.load(path)(**inputs)
    assert not torch.allclose(scores, scores_of_others, atol=1e-3)


def test_a_wrong_file_is_deleted(tiny_model, tmp_path, monkeypatch):
    path = tmp_path / 'model.pt'
    path.write_text('earlier')
    write, read = FORMATS['torchscript']

    def write_another(deployed, *args):
        write(DeployedModel(tiny_model().eval(), deployed.preprocess), *args)

    monkeypatch.setitem(FORMATS, 'torchscript', (write_another, read))
    with pytest.raises(RuntimeError, match='scores of 1 images of 64 x 64 is off by'):
        export.export(tiny_model().eval(), str(path), (64, 64), 'torchscript')
    assert [file.name for file in tmp_path.iterdir()] == ['model.pt']
    assert path.read_text() == 'earlier'


def test_mistakes(tiny_model, tmp_path, run_main, monkeypatch):
    path = str(tmp_path / 'model.pt')
    model = tiny_model(test_cfg=dict(stage='cascade', threshold=0.5))
    for format in ('torchscript', 'exported_program'):
        with pytest.raises(ValueError, match=f"'onnx', not '{format}'.*'both' or 'raw'"):
            export.export(model, path, (64, 64), format)
    with pytest.raises(ValueError, match='multiples of 32.*60 x 64'):
        export.export(tiny_model(), path, (60, 64), 'torchscript')
    config = 'configs/apcnn_r18_minibirds.py'
    done = run_main(script, config, __file__, '--out', tmp_path)
    assert done.returncode == 2 and 'is a folder' in done.stderr
    monkeypatch.setattr(torch, '__version__', '2.4.1+cpu')
    done = run_main(script, config, __file__, '--out', path)
    assert done.returncode == 2 and 'needs PyTorch 2.6 or later' in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_pipelines_that_cannot_be_exported():
    load, pack = dict(type='LoadImageFromFile'), dict(type='PackInputs')
    resize = dict(type='AntialiasedResize', scale=(80, 64))
    crop = dict(type='CenterCrop', crop_size=70)
    read = script.read_pipeline
    assert read([load, resize, pack]) == dict(resize=[80, 64], crop=[64, 80])
    assert read([load, resize, crop, pack]) == dict(resize=[80, 64], crop=[64, 70])
    kept = dict(type='KeepOriginal', max_size=300, transforms=[resize, crop])
    steps = dict(resize=[80, 64], crop=[64, 70], original_size=300)
    assert read([load, kept, pack]) == steps
    for pipeline in (
        [load, crop, pack],
        [load, crop, resize, pack],
        [load, resize, resize],
    ):
        with pytest.raises(ValueError, match='cannot be exported'):
            read(pipeline)
    with pytest.raises(ValueError, match='no AntialiasedResize'):
        read([load, pack])
    with pytest.raises(ValueError, match='in colour'):
        read([dict(load, color_type='grayscale'), resize, pack])


def test_the_runtime_takes_nothing_of_the_plugin():
    """Nor of what the plugin is built on."""
    for file in (REPO / 'apcnn_runtime').glob('*.py'):
        assert 'apcnn_mm import' not in file.read_text()
