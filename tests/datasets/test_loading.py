import io
import os
import shutil
import struct
import zlib

import cv2
import mmcv
import numpy as np
import pytest
from helpers import REPO
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.datasets import PackInputs
from mmpretrain.registry import TRANSFORMS
from PIL import Image, PngImagePlugin

from apcnn_mm.datasets import LoadImage
from apcnn_mm.datasets.loading import COLOR_TYPES, image_size
from apcnn_runtime.onnx_model import open_picture


def load(path, **options):
    return TRANSFORMS.build(dict(type='LoadImage', **options))(dict(img_path=path))


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)


def png_header(width, height):
    """A PNG that says how large it is, and nothing more."""
    content = struct.pack('>4sIIBBBBB', b'IHDR', width, height, 8, 2, 0, 0, 0)
    check = struct.pack('>I', zlib.crc32(content))
    return b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + content + check


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(imdecode_backend='pillow'),
        dict(color_type='grayscale'),
        dict(color_type='unchanged'),
        dict(color_type='color_ignore_orientation', to_float32=True),
    ],
)
@pytest.mark.parametrize('turned', [False, True])
def test_images_are_those_of_mmcv(tmp_path, pixels, options, turned):
    path = str(tmp_path / 'a.jpg')
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    Image.fromarray(pixels).save(path, exif=exif)
    results, expected = (
        load(path, **options),
        LoadImageFromFile(**options)(dict(img_path=path)),
    )
    np.testing.assert_array_equal(results.pop('img'), expected.pop('img'))
    assert results == expected


def test_two_transforms_of_one_name():
    """That of mmpretrain stays what it is for other models in the process."""
    name = dict(type='LoadImageFromFile')
    assert type(TRANSFORMS.build(name)) is LoadImageFromFile
    assert type(TRANSFORMS.build(dict(name, _scope_='apcnn_mm'))) is LoadImage
    assert TRANSFORMS.get('apcnn_mm.LoadImageFromFile') is LoadImage


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize(
    'hint, size, reduction',
    [
        (None, (160, 96), 1),
        (96, (160, 96), 1),
        (39, (160, 96), 1),
        (38, (160, 96), 2),
        ((20, 38), (160, 96), 2),
        (19, (160, 96), 4),
        (9, (160, 96), 8),
        (1, (160, 96), 8),
        (9, (160, 100), 4),  # an eighth would end within a pixel
        (9, (161, 96), 1),
    ],
)
def test_jpegs_are_decoded_at_a_fraction(tmp_path, hint, size, reduction, orientation):
    """With a quarter more pixels than the hint; size and turn are the whole image's."""
    path = str(tmp_path / 'a.jpg')
    exif = Image.Exif()
    exif[0x0112] = orientation
    width, height = size
    y, x = np.mgrid[:height, :width]
    image = np.stack([x, y * 2, (x + y) / 2], axis=-1).clip(0, 255).astype(np.uint8)
    Image.fromarray(image).save(path, exif=exif, quality=95)
    expected = load(path)
    results = load(path, scale_hint=hint)
    assert results['ori_shape'] == expected['ori_shape']
    assert results['img'].shape[:2] == results['img_shape']
    assert results['img_shape'] == tuple(n // reduction for n in expected['ori_shape'])
    assert results.get('scale_factor', (1, 1)) == (1 / reduction, 1 / reduction)
    small = cv2.resize(
        expected['img'], results['img_shape'][::-1], interpolation=cv2.INTER_AREA
    )
    assert np.abs(results['img'].astype(int) - small).mean() < 2


@pytest.mark.parametrize('color_type', COLOR_TYPES)
@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_a_fraction_of_all_colours(tmp_path, color_type, backend):
    """Colours and turns are those of the whole image; what cannot be reduced is whole."""
    path = str(tmp_path / 'a.jpg')
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (64, 48), (200, 100, 50)).save(path, exif=exif)
    options = dict(color_type=color_type, imdecode_backend=backend)
    whole = load(path, **options)
    results = load(path, scale_hint=19, **options)
    reduced = backend == 'cv2' and color_type != 'unchanged'
    assert results['ori_shape'] == whole['ori_shape']
    assert len(results['img']) == len(whole['img']) // (2 if reduced else 1)
    assert results['img'].shape[2:] == whole['img'].shape[2:]
    np.testing.assert_allclose(results['img'][0, 0], whole['img'][0, 0], atol=2)


@pytest.mark.parametrize('ending', ['jpg', 'png', 'webp', 'tif'])
def test_turned_as_exif_says(tmp_path, ending):
    """As with Pillow, which reads pictures for exported models."""
    image = Image.new('RGB', (64, 48), (200, 100, 50))
    image.paste((0, 0, 255), (0, 0, 64, 8))  # the upper edge, which comes to the right
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f'turned.{ending}'
    image.save(path, exif=exif, **dict(lossless=True) if ending == 'webp' else {})
    results = load(path)
    assert results['ori_shape'] == (64, 48)
    expected = np.asarray(open_picture(str(path)))[..., ::-1]
    np.testing.assert_allclose(results['img'], expected, atol=2)
    assert results['img'][32, 47, 0] > 200 > results['img'][32, 20, 0]
    if ending != 'tif':  # which OpenCV turns in any case
        ignoring = load(path, color_type='color_ignore_orientation')
        assert ignoring['ori_shape'] == (48, 64)


def test_floating_point_pixels(tmp_path):
    path = tmp_path / 'measured.tif'
    Image.fromarray(np.random.default_rng(0).random((20, 30), np.float32)).save(path)
    for read in (load, open_picture):
        with pytest.raises(ValueError, match='measured.tif.*image of 8 or 16 bits'):
            read(str(path))


def test_only_jpegs_are_decoded_at_a_fraction(tmp_path, pixels):
    for name in ('a.png', 'a.webp', 'a.tif', 'a.bmp'):
        Image.fromarray(pixels).save(tmp_path / name)
        whole = load(tmp_path / name)
        results = load(tmp_path / name, scale_hint=1)
        np.testing.assert_array_equal(results.pop('img'), whole.pop('img'))
        assert results == {**whole, 'scale_hint': (1, 1)}


def test_an_image_that_is_there_already(pixels):
    """mmpretrain's inferencers load images themselves, and name no file."""
    results = dict(img=pixels, img_shape=(20, 30), ori_shape=(20, 30))
    assert TRANSFORMS.build(dict(type='LoadImage'))(dict(results)) == results


def test_training_names_the_file(minibirds, tmp_path):
    root = shutil.copytree(minibirds, tmp_path / 'minibirds')
    (path,) = root.glob('images/001.*/*_0001.jpg')
    path.write_bytes(b'')
    cfg = Config.fromfile(REPO / 'configs/apcnn_r18_minibirds.py')
    cfg.train_dataloader.dataset.data_root = str(root)
    cfg.train_dataloader.update(num_workers=1, batch_size=2)
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    with pytest.raises(ValueError, match=f'{path} is empty'):
        list(loader)


def test_files_that_are_no_images(tmp_path, pixels, monkeypatch):
    """The error has the whole path, and nothing waits."""
    monkeypatch.chdir(tmp_path)
    whole = io.BytesIO()
    Image.fromarray(pixels).save(whole, 'jpeg')
    (tmp_path / 'empty.jpg').write_bytes(b'')
    (tmp_path / 'page.jpg').write_bytes(b'<html>Not found</html>')
    (tmp_path / 'half.jpg').write_bytes(whole.getvalue()[:-200])
    (tmp_path / 'folder.jpg').mkdir()
    os.mkfifo(tmp_path / 'pipe.jpg')
    os.symlink('self.jpg', tmp_path / 'self.jpg')
    os.symlink('nothing', tmp_path / 'lost.jpg')
    errors = {
        'empty.jpg': (ValueError, 'is empty'),
        'page.jpg': (ValueError, 'not an image'),
        'half.jpg': (ValueError, 'truncated'),
        'folder.jpg': (ValueError, 'folder'),
        'pipe.jpg': (ValueError, 'pipe'),
        'self.jpg': (OSError, 'symbolic links'),
        'lost.jpg': (FileNotFoundError, ''),
        'missing.jpg': (FileNotFoundError, ''),
    }
    for name, (kind, text) in errors.items():
        with pytest.raises(kind) as error:
            load(name)
        assert str(tmp_path / name) in str(error.value) and text in str(error.value)
        with pytest.raises((ValueError, OSError), match=str(tmp_path / name)):
            load(name, imdecode_backend='pillow')
        with pytest.raises(kind, match=text):
            load(name, scale_hint=1)
        assert load(name, ignore_empty=True) is None


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_pixels_are_counted_before_decoding(tmp_path, monkeypatch, backend):
    path = tmp_path / 'bomb.png'
    path.write_bytes(png_header(30000, 30000))
    monkeypatch.setattr(mmcv, 'imfrombytes', lambda *args, **kwargs: pytest.fail('decoded'))
    with pytest.raises(ValueError, match=f'{path} has 30000 x 30000 pixels.*max_pixels'):
        load(path, imdecode_backend=backend)


def test_pixel_limit(tmp_path, pixels):
    for name in ('a.png', 'a.jpg', 'a.webp', 'a.tif', 'a.bmp', 'a.ppm'):
        Image.fromarray(pixels).save(tmp_path / name)
        assert load(tmp_path / name, max_pixels=600)['img'].shape == (20, 30, 3)
        assert load(tmp_path / name, max_pixels=None)['img'].shape == (20, 30, 3)
        with pytest.raises(ValueError, match=f'{name} has 30 x 20 pixels'):
            load(tmp_path / name, max_pixels=599)


def test_what_pillow_refuses_is_read(tmp_path, pixels, monkeypatch):
    """Long text in a PNG, and a size above Pillow's own limit."""
    text = PngImagePlugin.PngInfo()
    text.add_text('comment', 'x' * 3_000_000, zip=True)
    Image.fromarray(pixels).save(tmp_path / 'text.png', pnginfo=text)
    with pytest.raises(ValueError):
        Image.open(tmp_path / 'text.png')
    assert load(tmp_path / 'text.png')['img'].shape == (20, 30, 3)

    Image.fromarray(pixels).save(tmp_path / 'a.jpg')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(tmp_path / 'a.jpg')
    assert load(tmp_path / 'a.jpg')['img'].shape == (20, 30, 3)


@pytest.mark.parametrize('options', [dict(), dict(progressive=True), dict(quality=100)])
def test_size_of_jpegs(pixels, options):
    """Whatever metadata stand before it; a damaged header is no size."""
    exif = Image.Exif()
    exif[0x010E] = 'x' * 60000
    for size in ((1, 1), (30, 20), (257, 513)):
        content = io.BytesIO()
        Image.new('RGB', size).save(content, 'jpeg', exif=exif, comment='a', **options)
        content = content.getvalue()
        assert image_size(content) == size
        assert all(image_size(content[:end]) in (None, size) for end in range(0, 700, 7))


def test_size_of_what_is_no_image():
    for content in (b'', b'<html>', b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff', b'P6', b'RIFF'):
        assert image_size(content) is None
    assert image_size(png_header(3, 2)) == (3, 2)


@pytest.mark.parametrize(
    'options',
    [
        dict(max_pixels=0),
        dict(max_pixels='many'),
        dict(scale_hint=0),
        dict(scale_hint=2.5),
        dict(scale_hint='600'),
        dict(scale_hint=(600, -1)),
        dict(scale_hint=(600,)),
        dict(max_pixels=1.5),
        dict(color_type='colour'),
        dict(imdecode_backend='opencv'),
        dict(to_float32='yes'),
        dict(ignore_empty=None),
        dict(backend_args='local'),
    ],
)
def test_wrong_arguments(options):
    (name,) = options
    with pytest.raises((TypeError, ValueError), match=f'LoadImage.{name}'):
        load('a.jpg', **options)


CONFIGS = [
    str(path.relative_to(REPO / 'configs'))
    for pattern in ('*.py', 'ablation/*.py')
    for path in sorted((REPO / 'configs').glob(pattern))
]


@pytest.mark.parametrize('config', CONFIGS)
def test_pipelines_of_the_configs(config):
    """All read by LoadImage, and keep what mmpretrain's tools ask for."""
    cfg = Config.fromfile(REPO / 'configs' / config)
    for split in ('train', 'val', 'test'):
        first, *_, last = cfg[f'{split}_dataloader'].dataset.pipeline
        # The name that mmpretrain's tools look for.
        assert first.type == 'LoadImageFromFile'
        assert type(TRANSFORMS.build(first)) is LoadImage
        assert last.type == 'PackInputs'
        keys = last.get('meta_keys', PackInputs.DEFAULT_META_KEYS)
        assert set(PackInputs.DEFAULT_META_KEYS) <= set(keys)
