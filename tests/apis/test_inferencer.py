import json
import os
import pickle
import struct
import threading
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch
from mmcv.image import imread
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmpretrain.registry import TRANSFORMS
from PIL import Image, ImageOps

from apcnn_mm.apis import APCNNInferencer, list_images
from apcnn_mm.apis.images import Images, collate_by_size
from apcnn_mm.launch import load_config


@pytest.fixture(scope='module')
def inferencer(trained):
    config = str(trained.work_dir / 'apcnn_r18_minibirds.py')
    return APCNNInferencer(config, pretrained=str(trained.checkpoint))


def test_paths_arrays_and_mistakes(inferencer, trained):
    path = str(sorted(trained.data_root.glob('images/*/*.jpg'))[0])
    from_path, from_array, absent = inferencer(
        [path, imread(path), '/absent.jpg'], batch_size=2, top_k=3
    )
    assert from_path['image'] == path and from_array['image'] is None
    for key in ('top', 'raw', 'refined', 'rois', 'merged_box'):
        assert from_path[key] == from_array[key]
    assert len(from_path['top']) == 3
    assert set(absent) == {'image', 'error'}


def test_another_refinement_than_in_training(trained, monkeypatch):
    logger = Mock()
    monkeypatch.setattr(MMLogger, 'get_current_instance', lambda: logger)
    config = str(trained.work_dir / 'apcnn_r18_minibirds.py')
    for options, warned in [({}, False), ({'model.refine_at': 'input'}, True)]:
        APCNNInferencer(load_config(config, options), trained.checkpoint)
        assert ('trained as another model' in str(logger.warning.mock_calls)) == warned


def test_a_checkpoint_of_another_model(trained):
    """In a few lines, and not in one for each of its layers."""
    config = str(trained.work_dir / 'apcnn_r18_minibirds.py')
    options = {'model.head.hidden_channels': 8, 'model.neck.channel': None}
    with pytest.raises(ValueError, match='not one of the model of the config') as raised:
        APCNNInferencer(load_config(config, options), trained.checkpoint)
    text = str(raised.value)
    assert len(text.splitlines()) < 12 and len(text) < 2500
    assert 'head' in text


def test_stages_and_their_mean(inferencer, trained):
    path = str(sorted(trained.data_root.glob('images/*/*.jpg'))[0])
    ((image, sample),) = inferencer.stream([path])
    assert image == path
    logits = sample.stage_scores.log()
    np.testing.assert_allclose(
        logits.mean(0).softmax(0).numpy(), sample.pred_score.numpy(), rtol=1e-4
    )
    result = inferencer.describe(image, sample, top_k=6)
    for name, scores in zip(('raw', 'refined'), sample.stage_scores):
        for entry in result[name]:
            assert entry['score'] == pytest.approx(float(scores[entry['label']]))


def test_the_model_works_while_the_caller_does(inferencer, monkeypatch):
    """And no further ahead than one batch."""
    begun = [threading.Event() for _ in range(4)]
    waiting = iter(begun)
    predict = inferencer._predict

    def watched(batch):
        next(waiting).set()
        return predict(batch)

    monkeypatch.setattr(inferencer, '_predict', watched)
    images = [np.full((64, 64, 3), 40 * i, np.uint8) for i in range(4)]
    for i, (image, outcome) in enumerate(inferencer.stream(images)):
        assert image is images[i] and 'pred_score' in outcome
        assert all(event.wait(60) for event in begun[: i + 2])
        assert not any(event.is_set() for event in begun[i + 2 :])


def test_a_fault_of_the_model_is_raised(inferencer, monkeypatch):
    monkeypatch.setattr(inferencer, 'forward', Mock(side_effect=RuntimeError('broken')))
    with pytest.raises(RuntimeError, match='broken'):
        list(inferencer.stream([np.zeros((64, 64, 3), np.uint8)]))


def test_images_of_several_sizes_in_a_batch(build):
    """Each size in one tensor, and predictions in the order of the images."""
    inferencer = build(dict(type='ResizeEdge', scale=64, edge='short'))
    images = [
        np.random.RandomState(i).randint(256, size=(*size, 3)).astype(np.uint8)
        for i, size in enumerate([(64, 64), (96, 64), (64, 64), (96, 64)])
    ]
    inputs = [images[0], '/absent.jpg', *images[1:]]
    items = Images(inputs, inferencer.loading, inferencer.pipeline)
    batch = collate_by_size([items[i] for i in range(len(items))])
    assert [error is None for error in batch.errors] == [True, False, True, True, True]
    assert [(p, x.shape, len(s)) for p, x, s in batch.groups] == [
        ([0, 3], (2, 3, 64, 64), 2),
        ([2, 4], (2, 3, 96, 64), 2),
    ]
    together = [outcome for _, outcome in inferencer.stream(inputs, batch_size=5)]
    assert 'absent' in together.pop(1)
    for image, outcome in zip(images, together):
        ((_, alone),) = inferencer.stream([image])
        torch.testing.assert_close(outcome.pred_score, alone.pred_score)


def test_copies_to_the_cpu(inferencer, monkeypatch):
    """All fields, in one copy, and each with its own memory."""
    images = [np.full((64, 64, 3), 40 * i, np.uint8) for i in range(3)]
    expected = [outcome for _, outcome in inferencer.stream(images, batch_size=3)]
    copies = []
    cpu = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, 'cpu', lambda x: copies.append(x) or cpu(x))
    samples = [outcome for _, outcome in inferencer.stream(images, batch_size=3)]
    assert len(copies) == 1
    for sample, before in zip(samples, expected):
        fields = dict(before.items())
        assert dict(sample.items()).keys() == fields.keys()
        assert {'pred_label', 'roi_levels', 'attention'} <= fields.keys()
        for name, value in fields.items():
            copy = sample.get(name)
            torch.testing.assert_close(copy, value, rtol=0, atol=0)
            for one in copy if isinstance(copy, tuple) else (copy,):
                assert one.untyped_storage().nbytes() == one.numel() * one.itemsize


def test_a_stage_that_did_not_run(inferencer, trained, monkeypatch):
    monkeypatch.setattr(inferencer.model, 'test_stage', 'raw')
    (result,) = inferencer(str(sorted(trained.data_root.glob('images/*/*.jpg'))[0]))
    assert result['refined'] is None
    assert result['raw'] == result['top']


def test_picture_in_original_pixels(inferencer):
    image = np.full((90, 150, 3), 128, np.uint8)
    ((_, sample),) = inferencer.stream([image])
    assert inferencer.draw(image, sample).shape == (90, 150, 3)


def test_keywords_of_the_parent(inferencer, trained, tmp_path):
    path = str(sorted(trained.data_root.glob('images/*/*.jpg'))[0])
    (sample,) = inferencer(path, return_datasamples=True, show_dir=str(tmp_path))
    assert sample.rois.shape[1] == 4
    assert len(list(tmp_path.glob('*.jpg'))) == 1


def test_large_pictures_are_drawn_small(inferencer):
    image = np.full((1500, 3000, 3), 128, np.uint8)
    ((_, sample),) = inferencer.stream([image])
    assert inferencer.draw(image, sample).shape == (500, 1000, 3)


@pytest.mark.parametrize('size', [(1, 1), (1, 5000), (5000, 1)])
def test_pictures_of_odd_images(inferencer, size, tmp_path):
    image = np.full((*size, 3), 128, np.uint8)
    ((_, sample),) = inferencer.stream([image])
    picture = inferencer.draw(image, sample, str(tmp_path / 'picture.jpg'))
    assert picture.shape == (min(size[0], 1000), min(size[1], 1000), 3)


def test_names_of_the_classes(trained, tmp_path):
    """From the checkpoint; not those of all 200 birds for a model of six."""
    config = str(trained.work_dir / 'apcnn_r18_minibirds.py')
    checkpoint = torch.load(trained.checkpoint, weights_only=False)
    names = checkpoint['meta']['dataset_meta']['classes']
    path = str(next(trained.data_root.glob('images/*/*.jpg')))
    (result,) = APCNNInferencer(config, str(trained.checkpoint))(path, top_k=6)
    assert {entry['name'] for entry in result['top']} == set(names)
    torch.save(dict(state_dict=checkpoint['state_dict'], meta={}), tmp_path / 'bare.pth')
    (result,) = APCNNInferencer(config, str(tmp_path / 'bare.pth'))(path)
    assert {entry['name'] for entry in result['top']} == {None}
    given = APCNNInferencer(config, str(tmp_path / 'bare.pth'), classes=list('abcdef'))
    assert given(path)[0]['top'][0]['name'] in 'abcdef'


@pytest.fixture
def path(trained):
    return str(sorted(trained.data_root.glob('images/*/*.jpg'))[0])


@pytest.fixture
def build(trained):
    """Builds an inferencer whose test pipeline has other transforms."""

    def build_inferencer(*transforms, **loading):
        cfg = Config.fromfile(trained.work_dir / 'apcnn_r18_minibirds.py')
        pipeline = cfg.test_dataloader.dataset.pipeline
        if transforms:
            pipeline[1:-1] = transforms
            del pipeline[0].scale_hint  # of which mmcv's resizing knows nothing
        pipeline[0].update(loading)
        return APCNNInferencer(cfg, trained.checkpoint)

    return build_inferencer


@pytest.mark.parametrize(
    'loading',
    [
        dict(),
        dict(imdecode_backend='pillow'),
        dict(color_type='color_ignore_orientation'),
        dict(type='mmpretrain.LoadImageFromFile', color_type='color_ignore_orientation'),
        dict(to_float32=True),
    ],
)
def test_one_reading_for_testing_and_prediction(build, tmp_path, loading):
    """Files are read by what the config's test pipeline begins with."""
    inferencer = build(dict(type='Resize', scale=(128, 128)), **loading)
    noise = np.random.default_rng(0).integers(256, size=(40, 70, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(noise).save(tmp_path / 'turned.jpg', exif=exif)
    cfg = inferencer.config.test_dataloader.dataset.pipeline
    testing = Compose([TRANSFORMS.build(transform) for transform in cfg])
    expected = testing(dict(img_path=str(tmp_path / 'turned.jpg')))
    loaded = inferencer.load(tmp_path / 'turned.jpg')
    assert torch.equal(loaded['inputs'], expected['inputs'])
    ignored = 'ignore' in loading.get('color_type', '')
    (result,) = inferencer(tmp_path / 'turned.jpg')
    size = (result['width'], result['height'])
    assert size == ((70, 40) if ignored else (40, 70))
    if not ignored:
        assert size == ImageOps.exif_transpose(Image.open(tmp_path / 'turned.jpg')).size
    (batch,) = inferencer.preprocess([tmp_path / 'turned.jpg'])
    assert torch.equal(batch['inputs'][0], expected['inputs'])


def test_photographs_are_described_in_their_own_pixels(inferencer, tmp_path):
    """They are decoded at a fraction of their size."""
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new('RGB', (1600, 1200), 'red').save(tmp_path / 'photo.jpg', exif=exif)
    loaded = inferencer.loading(dict(img_path=str(tmp_path / 'photo.jpg')))
    assert loaded['img'].shape == (400, 300, 3)
    ((path, sample),) = inferencer.stream([tmp_path / 'photo.jpg'])
    sample.merged_box = torch.tensor([0.0, 0, 128, 128])  # 128 of 144 pixels
    result = inferencer.describe(path, sample)
    assert (result['width'], result['height']) == (1200, 1600)
    expected = [1200 / 18, 1600 / 18, 1200 / 18 * 17, 1600 / 18 * 17]
    assert result['merged_box'] == pytest.approx(expected)
    picture = inferencer.draw(path, sample)
    assert picture.shape[0] / picture.shape[1] == pytest.approx(4 / 3, rel=0.01)


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'RGB', 'LA', 'I;16'])
def test_arrays_are_as_files(inferencer, tmp_path, mode):
    noise = np.random.default_rng(0).integers(256, size=(40, 70, 4), dtype=np.uint8)
    if mode == 'I;16':
        image = Image.fromarray(noise[..., :2].copy().view(np.uint16)[..., 0])
    else:
        image = Image.fromarray(noise).convert(mode)
    image.save(tmp_path / 'image.png')
    array = cv2.imread(str(tmp_path / 'image.png'), cv2.IMREAD_UNCHANGED)
    from_file, from_array, plain = inferencer(
        [tmp_path / 'image.png', array, noise[..., :3]], batch_size=3
    )
    assert from_file['error'] is None and plain['error'] is None
    if mode == 'I;16':
        assert 'uint16' in from_array['error']
    else:
        assert from_array == {**from_file, 'image': None}


def test_arrays_that_are_no_images(inferencer):
    arrays = [
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((1, 1), np.uint8),
    ]
    *broken, fine = inferencer(arrays, batch_size=5)
    assert all('array of uint8' in result['error'] for result in broken)
    assert fine['error'] is None


def test_a_fault_of_the_pipeline_ends_the_run(build, path):
    """It is not an unreadable image; the real error is told."""
    inferencer = build()
    inferencer.pipeline.transforms[1].crop_size = None
    with pytest.raises(TypeError, match='NoneType'):
        inferencer([path, path])


def test_an_image_that_the_pipeline_cannot_take(build, path):
    inferencer = build(
        dict(type='RemoveBottomRows', height=20), dict(type='Resize', scale=(128, 128))
    )
    flat, fine = inferencer([np.zeros((15, 100, 3), np.uint8), path], batch_size=2)
    assert 'has 15 rows' in flat['error'] and '100 x 15' in flat['error']
    assert fine['error'] is None


def test_broken_files(inferencer, path, tmp_path):
    os.mkfifo(tmp_path / 'pipe.jpg')
    (tmp_path / 'folder.jpg').mkdir()
    (tmp_path / 'self.jpg').symlink_to('self.jpg')
    (tmp_path / 'cut.jpg').write_bytes(Path(path).read_bytes()[:300])
    (tmp_path / 'empty.jpg').touch()
    header = b'IHDR' + struct.pack('>IIBBBBB', 60000, 60000, 8, 0, 0, 0, 0)
    (tmp_path / 'bomb.png').write_bytes(
        b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + header + bytes(100)
    )
    broken = sorted(tmp_path.iterdir())
    *results, fine = inferencer([*broken, tmp_path / 'absent.jpg', path], batch_size=4)
    for file, result in zip([*broken, tmp_path / 'absent.jpg'], results):
        assert set(result) == {'image', 'error'}
        assert result['image'] == str(file) and file.name in result['error']
    assert '60000 x 60000' in results[0]['error']
    assert fine['error'] is None


def test_folders(inferencer, path, tmp_path):
    """With all their subfolders, in no circles, and without what is hidden."""
    folder = tmp_path / 'images'
    for name in ('1.jpg', 'a/1.jpg', 'b/c/1.jpg', '.thumbnails/1.jpg', '__MACOSX/1.jpg'):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(Path(path).read_bytes())
    (folder / 'a' / 'notes.txt').touch()
    (folder / 'a' / 'loop').symlink_to(folder)
    (folder / 'x.jpg').mkdir()
    for source in (folder, str(folder)):
        results = inferencer(source, show_dir=tmp_path / 'shown')
        found = {os.path.relpath(r['image'], folder): r['error'] for r in results}
        assert len(results) == 5
        assert {name for name, error in found.items() if error} == {'a/loop', 'x.jpg'}
        assert {n for n, e in found.items() if not e} == {'1.jpg', 'a/1.jpg', 'b/c/1.jpg'}
    shown = {
        os.path.relpath(p, tmp_path / 'shown') for p in tmp_path.glob('shown/**/*.jpg')
    }
    assert shown == {'1.jpg.jpg', 'a/1.jpg.jpg', 'b/c/1.jpg.jpg'}
    with pytest.raises(FileNotFoundError, match='x.jpg'):
        inferencer(folder / 'x.jpg')


def test_names_of_pictures(path):
    """Each image has a picture of its own, whose name is that of its file."""
    array = np.zeros((4, 4, 3), np.uint8)
    images, names = list_images(['/p/a/1.jpg', Path('/p/b/1.jpg'), array, array])
    assert names == ['a/1.jpg.jpg', 'b/1.jpg.jpg', '2.jpg', '3.jpg']
    assert list_images(path)[1] == [f'{os.path.basename(path)}.jpg']
    assert list_images(array)[1] == ['0.jpg']
    assert list_images([]) == ([], [])


def test_sizes_that_differ(build):
    """No prediction depends on its neighbours in the batch."""
    inferencer = build(dict(type='ResizeEdge', scale=128, edge='short'))
    rng = np.random.default_rng(0)
    sizes = [(128, 128), (128, 200), (150, 100), (128, 128), (128, 200)]
    images = [rng.integers(256, size=(*size, 3), dtype=np.uint8) for size in sizes]
    alone = [inferencer(image)[0] for image in images]
    together = inferencer(images, batch_size=5)
    for one, other in zip(alone, together):
        assert one['merged_box'] == pytest.approx(other['merged_box'], abs=1e-3)
        assert one['top'][0]['score'] == pytest.approx(other['top'][0]['score'], abs=1e-5)


def test_boxes_on_pictures_with_a_credit_line(build):
    """The picture has the rows that the pipeline removes."""
    inferencer = build(
        dict(type='RemoveBottomRows', height=100), dict(type='Resize', scale=(128, 128))
    )
    image = np.zeros((300, 200, 3), np.uint8)
    ((_, sample),) = inferencer.stream([image])
    sample.rois = torch.tensor([[32.0, 64, 96, 128]])  # the lower half of what remains
    sample.roi_levels, sample.roi_scores = torch.zeros(1, dtype=torch.long), torch.ones(1)
    sample.merged_box = sample.rois[0]
    result = inferencer.describe(image, sample)
    assert result['merged_box'] == [50, 100, 150, 200]
    assert (result['width'], result['height']) == (200, 300)
    picture = inferencer.draw(image, sample)
    green = (picture[..., 1] > 128) & (picture[..., 0] < 100)
    ys, xs = green[40:].nonzero()  # below the text
    np.testing.assert_allclose([xs.min(), xs.max()], [50, 150], atol=2.5)
    np.testing.assert_allclose([ys.min() + 40, ys.max() + 40], [100, 200], atol=2.5)


def test_scores_that_are_not_finite(build, path, tmp_path):
    inferencer = build()
    torch.nn.init.constant_(inferencer.model.head.concat_classifier.fc.bias, np.nan)
    (result,) = inferencer(path, show_dir=tmp_path)
    assert set(result) == {'image', 'error'} and 'not finite' in result['error']
    json.dumps(result, allow_nan=False)
    assert not list(tmp_path.iterdir())


def test_workers_get_no_model(inferencer, path):
    images = Images([path], inferencer.loading, inferencer.pipeline)
    assert len(pickle.dumps(images)) < 100_000
    (result,) = inferencer([path], num_workers=1)
    assert result['error'] is None


@pytest.mark.parametrize(
    'arguments, error',
    [
        (dict(inputs=5), TypeError),
        (dict(inputs=['a.jpg', None]), TypeError),
        (dict(batch_size=0), ValueError),
        (dict(batch_size='2'), TypeError),
        (dict(num_workers=-1), ValueError),
        (dict(top_k=0), ValueError),
        (dict(top_k=1.5), TypeError),
        (dict(return_datasamples='yes'), ValueError),
        (dict(show_dir=3), TypeError),
    ],
)
def test_mistaken_arguments(inferencer, path, arguments, error):
    name = list(arguments)[0]
    with pytest.raises(error, match=name):
        inferencer(**{'inputs': path, **arguments})


def test_mistakes_of_construction(trained):
    config = str(trained.work_dir / 'apcnn_r18_minibirds.py')
    with pytest.raises(TypeError, match='pretrained'):
        APCNNInferencer(config, None)
    with pytest.raises(TypeError, match='model'):
        APCNNInferencer(None, str(trained.checkpoint))
    with pytest.raises(FileNotFoundError, match='/absent.py'):
        APCNNInferencer('/absent.py', str(trained.checkpoint))
    with pytest.raises(ValueError, match='6 names'):
        APCNNInferencer(config, str(trained.checkpoint), classes=['jay', 'wren'])
    cfg = Config.fromfile(config)
    del cfg.test_dataloader.dataset.pipeline[0]
    with pytest.raises(ValueError, match='must begin with.*not with AntialiasedResize'):
        APCNNInferencer(cfg, str(trained.checkpoint))
    cfg.pop('test_dataloader')
    with pytest.raises(ValueError, match='no test_dataloader'):
        APCNNInferencer(cfg, str(trained.checkpoint))
