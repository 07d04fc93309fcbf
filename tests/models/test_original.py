"""The second look at the original picture, from the pipeline to the model."""

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmpretrain.registry import TRANSFORMS
from mmpretrain.structures import DataSample
from PIL import Image
from test_refinement import make_rois

from apcnn_mm.models.original import OriginalPictures, cut_and_resize


def pillow(picture, size, box):
    """What Pillow makes of one channel, (H, W) of float32."""
    resized = Image.fromarray(picture.numpy()).resize(
        size[::-1], Image.Resampling.BILINEAR, box=box
    )
    return torch.from_numpy(np.array(resized))


@pytest.mark.parametrize('size', [(32, 48), (7, 5), (201, 90)])
@pytest.mark.parametrize(
    'box', [(0, 0, 83, 61), (10.3, 7.7, 61.25, 50.5), (70.5, 0, 83, 3.3), (5, 5, 6.5, 6)]
)
def test_zoom_equals_pillow(box, size):
    """Enlarged, shrunk with antialiasing, and both at once, at fractions of a pixel."""
    picture = torch.rand(61, 83, generator=torch.Generator().manual_seed(0))
    zoomed, inside = cut_and_resize(picture[None, None], torch.tensor([box]), size)
    assert zoomed.shape == (1, 1, *size) and inside.all()
    expected = pillow(picture, size, box)
    torch.testing.assert_close(zoomed[0, 0], expected, rtol=0, atol=1e-5)


def test_mirrored_boxes():
    pictures = torch.rand(2, 3, 20, 30)
    boxes = torch.tensor([[3.2, 4, 25, 17.5], [0, 0, 30, 20]])
    straight, _ = cut_and_resize(pictures, boxes, (24, 16))
    for order, dims in (
        ((2, 1, 0, 3), (-1,)),
        ((0, 3, 2, 1), (-2,)),
        ((2, 3, 0, 1), (-2, -1)),
    ):
        mirrored, inside = cut_and_resize(pictures, boxes[:, list(order)], (24, 16))
        torch.testing.assert_close(mirrored, straight.flip(*dims), rtol=0, atol=1e-5)
        assert inside.all()


def test_outside_of_the_picture():
    """Of a box that is half outside, the other half is the picture's."""
    pictures = torch.rand(1, 3, 20, 30)
    zoomed, inside = cut_and_resize(pictures, torch.tensor([[-30.0, 0, 30, 40]]), (40, 60))
    assert inside[0, 0].nonzero().amin(0).tolist() == [0, 30]
    assert inside.sum() == 20 * 30
    torch.testing.assert_close(zoomed[..., :20, 30:], pictures)
    assert not zoomed[..., 20:, :].any() and not zoomed[..., :30].any()


PIPELINES = {
    'squash': [dict(type='Resize', scale=(60, 67))],
    'squash, crop and flip': [
        dict(type='Resize', scale=(200, 180)),
        dict(type='RandomCrop', crop_size=(77, 90)),
        dict(type='RandomFlip', prob=1.0, direction='horizontal'),
    ],
    'antialiased': [
        dict(type='AntialiasedResize', scale=(64, 40)),
        dict(type='RandomFlip', prob=1.0, direction='diagonal'),
        dict(type='CenterCrop', crop_size=31),
    ],
    'edge': [
        dict(type='ResizeEdge', scale=101),
        dict(type='RandomFlip', prob=0.5, direction=['horizontal', 'vertical']),
        dict(type='CenterCrop', crop_size=64),
    ],
    'random resized crop': [
        dict(type='RandomResizedCrop', scale=70),
        dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    ],
    'two of each': [
        dict(type='RandomCrop', crop_size=90),
        dict(type='Resize', scale=(140, 131)),
        dict(type='RandomFlip', prob=0.5, direction='vertical'),
        dict(type='RandomCrop', crop_size=96),
        dict(type='Resize', scale=(150, 70)),
        dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    ],
    'padded': [
        dict(type='RandomCrop', crop_size=120, padding=20, pad_if_needed=True),
        dict(type='Resize', scale=(96, 96)),
    ],
    'one of several': [
        dict(
            type='RandomChoice',
            transforms=[
                [dict(type='Resize', scale=(70, 70))],
                [dict(type='RandomCrop', crop_size=50)],
            ],
        ),
        dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    ],
    'nothing': [],
}


def keep(transforms, max_size=1000, **options):
    return TRANSFORMS.build(
        dict(type='KeepOriginal', transforms=transforms, max_size=max_size, **options)
    )


def ramps(height, width):
    """x, y and a constant, as float32: a pixel has the place of its centre."""
    image = np.full((height, width, 3), 200, np.float32)
    image[..., 0] = np.arange(width) + 0.5
    image[..., 1] = np.arange(height)[:, None] + 0.5
    return image


def as_loaded(image):
    return dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])


@pytest.mark.parametrize('name', PIPELINES)
@pytest.mark.parametrize('size', [(111, 150), (129, 97)])
def test_every_pixel_of_the_input_is_found_in_the_picture(name, size):
    transform = keep(PIPELINES[name])
    picture = ramps(*size)
    for seed in range(5):
        np.random.seed(seed)
        results = transform(as_loaded(picture))
        a_x, a_y, b_x, b_y = results['original'].view
        image = results['img']
        h, w = image.shape[:2]
        x = a_x * (np.arange(w) + 0.5) + b_x
        y = (a_y * (np.arange(h) + 0.5) + b_y)[:, None]
        # Where interpolation sees two pixels, and no padding.
        inside = (x > 2) & (x < size[1] - 2) & (y > 2) & (y < size[0] - 2)
        inside[:3] = inside[-3:] = inside[:, :3] = inside[:, -3:] = False
        assert inside.mean() > 0.4
        # A triangle of pixels does not keep a ramp exactly.
        tolerance = 0.05 if name == 'antialiased' else 1e-3
        assert np.abs(image[..., 0] - x)[inside].max() < tolerance
        assert np.abs(image[..., 1] - y)[inside].max() < tolerance
        assert (results['original'].pixels.numpy() == picture).all()


@pytest.mark.parametrize('name', PIPELINES)
def test_the_input_is_that_without_keeping(name):
    picture = np.random.default_rng(0).integers(0, 255, (111, 150, 3), dtype=np.uint8)
    plain = Compose([TRANSFORMS.build(t) for t in PIPELINES[name]])
    for seed in range(3):
        np.random.seed(seed)
        expected = plain(as_loaded(picture))
        np.random.seed(seed)
        results = keep(PIPELINES[name])(as_loaded(picture))
        original = results.pop('original')
        assert original.pixels.dtype == torch.uint8
        assert (results.pop('img') == expected.pop('img')).all()
        assert results == expected


def test_boxes_are_exact():
    """Of a ramp, the zoom gives the ramp of the box: crop, flip, resizing, odd sizes."""
    boxes = torch.tensor([[7.3, 5.1, 60.9, 40.25], [30, 20.5, 33, 61]])
    originals, scales = [], []
    for seed, size in enumerate([(111, 150), (241, 135)]):
        np.random.seed(seed)
        results = keep(PIPELINES['squash, crop and flip'])(as_loaded(ramps(*size)))
        originals.append(results['original'])
        scales.append(results['original'].view)
    assert all(a_x < 0 for a_x, *_ in scales)
    zoomed, inside = OriginalPictures(originals).zoom(boxes, (80, 81))
    assert zoomed.shape == (2, 3, 80, 81) and inside.all()
    for look, (x1, y1, x2, y2), (a_x, a_y, b_x, b_y) in zip(zoomed, boxes, scales):
        x = x1 + (torch.arange(81) + 0.5) / 81 * (x2 - x1)
        y = y1 + (torch.arange(80) + 0.5) / 80 * (y2 - y1)
        torch.testing.assert_close(
            look[0], (a_x * x + b_x).expand(80, 81), rtol=0, atol=1e-3
        )
        expected = (a_y * y + b_y)[:, None].expand(80, 81)
        torch.testing.assert_close(look[1], expected, rtol=0, atol=1e-3)
        torch.testing.assert_close(look[2], torch.full((80, 81), 200.0), rtol=0, atol=1e-3)


def test_large_pictures_are_shrunk_once():
    picture = np.random.default_rng(0).integers(0, 255, (300, 401, 3), dtype=np.uint8)
    transform = keep([dict(type='AntialiasedResize', scale=64)], max_size=200)
    results = transform(as_loaded(picture))
    pixels = results['original'].pixels
    assert pixels.shape == (150, 200, 3)
    expected = Image.fromarray(picture).resize((200, 150), Image.Resampling.BILINEAR)
    assert np.abs(pixels.numpy() - np.asarray(expected).astype(int)).max() <= 1
    # Boxes go back to the whole picture.
    assert results['scale_factor'] == pytest.approx((64 / 401, 64 / 300))
    assert results['original'].view == (200 / 64, 150 / 64, 0, 0)


@pytest.mark.parametrize(
    'transforms, size, message',
    [
        ([dict(type='Rotate', angle=10.0, prob=1.0)], (60, 80), 'Rotate'),
        ([dict(type='Brightness', magnitude=0.3, prob=1.0)], (60, 80), 'Brightness'),
        ([dict(type='Solarize', thr=30, prob=1.0)], (60, 80), 'Solarize'),
        ([dict(type='CenterCrop', crop_size=1)], (60, 80), 'at least 2 x 2'),
        (
            [dict(type='RandomResizedCrop', scale=32, backend='pillow')],
            (60, 80),
            'Pillow',
        ),
    ],
)
def test_what_cannot_be_followed_is_refused(transforms, size, message):
    picture = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=f'KeepOriginal cannot.*{message}'):
        keep(transforms)(as_loaded(picture))


def test_decoded_too_small():
    sample = dict(as_loaded(ramps(60, 80)), scale_hint=(64, 64))
    with pytest.raises(ValueError, match='Set scale_hint=100 of LoadImage'):
        keep([], max_size=100)(sample)
    assert keep([], max_size=64)(sample)['original'].pixels.shape == (48, 64, 3)


# The model.


def pack(picture, transforms, seed=0):
    np.random.seed(seed)
    results = keep(transforms)(as_loaded(picture))
    packing = dict(type='PackInputs', algorithm_keys=('original',))
    return TRANSFORMS.build(packing)(results)


def batch(model, packed):
    data = dict(
        inputs=[p['inputs'] for p in packed],
        data_samples=[p['data_samples'] for p in packed],
    )
    return model.data_preprocessor(data, training=model.training)


def uint8(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


def two_models(tiny_model, **options):
    torch.manual_seed(0)
    options['data_preprocessor'] = dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
    )
    pair = [tiny_model(refine_at=place, **options) for place in ('original', 'input')]
    pair[1].load_state_dict(pair[0].state_dict())
    return pair


def test_the_input_as_its_own_original(tiny_model):
    """Where the picture has the input's size and the box is all of it, it is 'input'."""
    original, at_input = two_models(tiny_model, **{'roi_generator.border': 0.0})
    images = [pack(uint8(64, 96, 3, seed=i), []) for i in range(3)]
    for model in (original, at_input):
        for gate in model.neck.spatial_gates:  # a constant level has no ROI
            torch.nn.init.zeros_(gate.deconv.weight)
    data = [batch(model.eval(), images) for model in (original, at_input)]
    data[1]['data_samples'] = None
    with torch.no_grad():
        theirs = at_input.predict(**data[1])
        ours = original.predict(**data[0])
    for one, other in zip(ours, theirs):
        assert one.merged_box.tolist() == [0, 0, 96, 64]
        torch.testing.assert_close(one.stage_scores, other.stage_scores)
        assert 'original' not in one  # 36 MB of a photograph


@pytest.mark.parametrize('gain', ['map', 'crop', 'released'])
def test_erasing_is_that_of_the_input(tiny_model, gain):
    options = {'head.dropblock_gain': gain, 'head.dropblock_probs': (1.0, 0.0, 0.0)}
    model = tiny_model(refine_at='original', **options).train()
    data = batch(model, [pack(uint8(64, 96, 3, seed=i), []) for i in range(2)])
    originals = model._originals(data['data_samples'])
    images = data['inputs']
    rois = make_rois(
        [[[8.0, 10, 40, 30]], [[50.0, 0, 96, 64]]], [0], (64, 96), [[0.0, 0, 96, 64]] * 2
    )
    ours = model._look_again(images, originals, rois)
    torch.testing.assert_close(ours, model.head.refine(images, rois), rtol=0, atol=1e-4)
    assert not ours[0, :, 10:30, 8:40].any() and not ours[1, :, :, 50:].any()


def test_what_is_erased_lies_in_the_roi(tiny_model):
    """In the zoomed picture, of whatever size and however turned."""
    model = tiny_model(refine_at='original', **{'head.dropblock_probs': (1.0, 0.0, 0.0)})
    flip = dict(type='RandomFlip', prob=1.0, direction='horizontal')
    resize = dict(type='Resize', scale=(96, 64))
    packed = [
        pack(uint8(h, w, 3) // 2 + 100, [resize, flip]) for h, w in ((211, 170), (50, 300))
    ]
    data = batch(model.train(), packed)
    originals = model._originals(data['data_samples'])
    rois = make_rois([[[20.0, 10, 40, 30]]] * 2, [0], (64, 96), [[16.0, 8, 64, 40]] * 2)
    zoomed = model._look_again(data['inputs'], originals, rois)
    # The merged box of 48 x 32 pixels fills 96 x 64: twice the size.
    erased = (zoomed == 0).all(dim=1)
    assert erased[:, 5:43, 9:47].all()
    assert not erased[:, :3].any() and not erased[:, 45:].any()
    assert not erased[..., :7].any() and not erased[..., 49:].any()


def test_training_and_prediction(tiny_model):
    """Pictures of other sizes in a batch; a batch equals its singles."""
    original, at_input = two_models(tiny_model)
    transforms = [
        dict(type='AntialiasedResize', scale=(110, 90)),
        dict(type='RandomCrop', crop_size=(64, 96)),
        dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    ]

    def packed():
        sizes = [(300, 411), (97, 120), (64, 96), (500, 333)]
        found = [pack(uint8(*s, 3), transforms, seed=i) for i, s in enumerate(sizes)]
        for item in found:
            item['data_samples'].set_gt_label(1)
        return found

    losses = original(**batch(original.train(), packed()), mode='loss')
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    assert all(torch.isfinite(p.grad).all() for p in original.parameters())

    original.eval()
    with torch.no_grad():
        together = original(**batch(original, packed()), mode='predict')
        for item, expected in zip(packed(), together):
            (single,) = original(**batch(original, [item]), mode='predict')
            torch.testing.assert_close(single.stage_scores, expected.stage_scores)
        at_input.load_state_dict(original.state_dict())
        others = at_input.eval()(**batch(at_input, packed()), mode='predict')
        for one, other in zip(together, others):
            assert torch.equal(one.merged_box, other.merged_box)
            assert torch.equal(one.stage_scores[0], other.stage_scores[0])
            assert not torch.allclose(one.stage_scores[1], other.stage_scores[1])
            assert 'original' not in other
        # Tools that know of images alone look at the input a second time.
        inputs = batch(original, packed())['inputs']
        torch.testing.assert_close(original(inputs), at_input(inputs))


def test_no_original(tiny_model):
    model = tiny_model(refine_at='original').eval()
    images = torch.rand(1, 3, 64, 64)
    for given in (None, [DataSample()]):
        with pytest.raises(ValueError, match="type='KeepOriginal'.*algorithm_keys"):
            model(images, given, mode='predict')
    with pytest.raises(ValueError, match="type='KeepOriginal'.*algorithm_keys"):
        model.train()(images.repeat(2, 1, 1, 1), [DataSample()] * 2, mode='loss')
    raw = tiny_model(refine_at='original', test_cfg=dict(stage='raw')).eval()
    assert 'merged_box' in raw(images, [DataSample()], mode='predict')[0]


@pytest.mark.parametrize(
    'behind',
    [
        dict(type='RandomFlip', prob=1.0, direction='horizontal'),
        dict(type='CenterCrop', crop_size=32),
        dict(type='Resize', scale=(48, 48)),
    ],
)
def test_a_transform_behind(tiny_model, behind):
    """It would be seen in the first look alone, and the boxes of the second were wrong."""
    model = tiny_model(refine_at='original').eval()
    flip = dict(type='RandomFlip', prob=0.0, direction='horizontal')
    results = keep([flip])(as_loaded(uint8(64, 64, 3)))
    results = TRANSFORMS.build(behind)(results)
    packing = TRANSFORMS.build(dict(type='PackInputs', algorithm_keys=('original',)))
    with pytest.raises(ValueError, match='Behind KeepOriginal the input was'):
        model.predict(**batch(model, [packing(results)]))


@pytest.mark.parametrize(
    'options, message',
    [
        ({'head.zoom_in': False}, 'needs head.zoom_in=True'),
        (
            {
                'data_preprocessor': dict(
                    type='ClsDataPreprocessor',
                    batch_augments=dict(augments=[dict(type='Mixup', alpha=0.2)]),
                )
            },
            'batch_augments',
        ),
    ],
)
def test_what_does_not_go_together(tiny_model, options, message):
    with pytest.raises(ValueError, match=message):
        tiny_model(refine_at='original', **options)
