import mmcv
import numpy as np
import pytest
from mmcv.transforms import Compose
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from apcnn_mm.geometry import check_pipeline


def picture(width, height, seed=0):
    """Detail at all sizes, as in photographs."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 120.0)
    for exponent in range(1, 9):
        cells = rng.normal(size=(2**exponent * 3, 2**exponent * 4, 3))
        image += 60 / exponent * mmcv.imresize(cells, (width, height), backend='cv2')
    return image.clip(0, 255).astype(np.uint8)


def build(*transforms):
    return Compose([TRANSFORMS.build(transform) for transform in transforms])


def resize(image, scale, **results):
    results = dict(img=image, ori_shape=image.shape[:2], **results)
    return build(dict(type='AntialiasedResize', scale=scale))(results)


def difference(image, other):
    return np.abs(image.astype(float) - other).mean()


def by_pillow(image, size):
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


@pytest.mark.parametrize(
    'size, scale',
    [
        ((500, 375), (600, 600)),  # grows
        ((500, 375), (256, 256)),  # shrinks
        ((500, 375), (448, 448)),  # shrinks one way and grows the other
        ((333, 501), (180, 700)),
        ((1999, 1501), (600, 600)),
        ((60, 40), (60, 40)),
        ((1, 1), (7, 5)),
        ((60, 40), (1, 1)),
    ],
)
@pytest.mark.parametrize('channels', [None, 1, 3, 4])
def test_as_pillow(size, scale, channels):
    """To within one grey level everywhere, and a half on average."""
    image = picture(*size)
    image = np.concatenate([image, image[..., :1]], axis=2)
    image = image[..., 0] if channels is None else image[..., :channels]
    results = resize(image, scale)
    assert results['img'].shape == (*scale[::-1], *image.shape[2:])
    assert results['img_shape'] == scale[::-1] and results['ori_shape'] == size[::-1]
    assert results['scale_factor'] == (scale[0] / size[0], scale[1] / size[1])
    for i in range(channels or 1):
        channel = image if channels is None else image[..., i]
        resized = results['img'] if channels is None else results['img'][..., i]
        expected = by_pillow(np.ascontiguousarray(channel), scale)
        assert np.abs(resized.astype(int) - expected).max() <= 1
        assert difference(resized, expected) < 0.5


def test_of_float_and_flipped_images():
    image = picture(500, 375)[:, ::-1]
    for scale in ((600, 600), (200, 200)):
        expected = by_pillow(np.ascontiguousarray(image), scale)
        resized = resize(image.astype(np.float32), scale)['img']
        assert resized.dtype == np.float32
        assert difference(resized, expected) < 0.5
        assert difference(resize(image, scale)['img'], expected) < 0.5


def test_other_numbers_are_refused():
    image = np.zeros((40, 60), np.uint16)
    with pytest.raises(ValueError, match='a.png has pixels of uint16'):
        resize(image, 20, img_path='a.png')


@pytest.mark.parametrize('scale', [0, -1, 2.5, '60', None, True, (60,), (60, 0), (6, 5, 4)])
def test_wrong_scale(scale):
    with pytest.raises((TypeError, ValueError), match='AntialiasedResize.scale'):
        TRANSFORMS.build(dict(type='AntialiasedResize', scale=scale))


def pipelines(scale, crop):
    """The data path of the paper's settings and today's, from a file to the crop."""
    crop = dict(type=crop, crop_size=scale - scale // 4)
    slow = (
        dict(type='LoadImage'),
        dict(type='Resize', scale=(scale, scale), backend='pillow'),
        crop,
    )
    fast = (
        dict(type='LoadImage', scale_hint=scale),
        dict(type='AntialiasedResize', scale=scale),
        crop,
    )
    return build(*slow), build(*fast)


@pytest.mark.parametrize('crop', ['RandomCrop', 'CenterCrop'])
@pytest.mark.parametrize('orientation', [1, 3, 6])
@pytest.mark.parametrize('size', [(160, 120), (640, 480), (1616, 1216), (1602, 1204)])
def test_from_the_file_to_the_crop(tmp_path, size, orientation, crop):
    """Full decoding, Pillow and a crop, to within one grey level on average."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / 'picture.jpg'
    Image.fromarray(picture(*size)).save(path, quality=92, exif=exif)
    slow, fast = pipelines(140, crop)
    np.random.seed(3)
    expected = slow(dict(img_path=path))
    after = np.random.randint(2**31)
    np.random.seed(3)
    results = fast(dict(img_path=path))
    # Resumed runs depend on it: as many random numbers are drawn.
    assert np.random.randint(2**31) == after
    assert difference(results['img'], expected['img']) < 1
    for key in ('ori_shape', 'img_shape', 'scale_factor'):
        assert results[key] == expected[key], key


def test_a_smaller_hint_than_scale(tmp_path):
    """It would be enlarged again, and only where the picture is large."""
    path = tmp_path / 'picture.jpg'
    Image.fromarray(picture(50, 40)).save(path)
    pipeline = build(
        dict(type='LoadImage', scale_hint=100), dict(type='AntialiasedResize', scale=101)
    )
    with pytest.raises(ValueError, match=r'scale_hint=\(101, 101\)'):
        pipeline(dict(img_path=path))
    larger = build(
        dict(type='LoadImage', scale_hint=100), dict(type='AntialiasedResize', scale=80)
    )
    assert larger(dict(img_path=path))['img'].shape == (80, 80, 3)


def test_rows_are_removed_before_resizing(tmp_path):
    """The credit line is gone, and boxes are in pixels of what remains."""
    image = picture(1600, 1200)
    image[-40:] = 0
    path = tmp_path / 'plane.jpg'
    Image.fromarray(image).save(path, quality=95)
    remove, resizing = (
        dict(type='RemoveBottomRows', height=40),
        dict(type='AntialiasedResize', scale=96),
    )
    for hint in (96, 300, None):
        results = build(dict(type='LoadImage', scale_hint=hint), remove, resizing)(
            dict(img_path=path)
        )
        expected = by_pillow(mmcv.imread(path)[:1160], (96, 96))
        assert difference(results['img'], expected) < 1
        assert results['ori_shape'] == (1160, 1600)
        assert results['scale_factor'] == pytest.approx((96 / 1600, 96 / 1160))


@pytest.mark.parametrize('resizing', ['Resize', 'ResizeEdge', 'AntialiasedResize'])
def test_boxes_need_a_resizing_that_knows_of_the_hint(resizing):
    loading = TRANSFORMS.build(dict(type='LoadImage', scale_hint=64))
    plain = TRANSFORMS.build(dict(type='LoadImage'))
    resizing = TRANSFORMS.build(dict(type=resizing, scale=64))
    check_pipeline(Compose([plain, resizing]))
    check_pipeline(Compose([resizing]), plain)
    pairs = ((Compose([loading, resizing]), None), (Compose([resizing]), loading))
    for pair in pairs:
        if type(resizing).__name__ == 'AntialiasedResize':
            check_pipeline(*pair)
        else:
            with pytest.raises(ValueError, match='scale_hint'):
                check_pipeline(*pair)
