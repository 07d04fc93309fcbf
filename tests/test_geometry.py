import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmpretrain.registry import TRANSFORMS

from apcnn_mm.geometry import (
    check_pipeline,
    gives_one_size,
    to_input,
    to_original,
)

KEYS = ('ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')
PIPELINES = {
    'nothing': [],
    'squash': [dict(type='Resize', scale=(60, 60), backend='pillow')],
    'squash and crop': [
        dict(type='Resize', scale=(300, 300), backend='pillow'),
        dict(type='CenterCrop', crop_size=225),
    ],
    'antialiased and crop': [
        dict(type='AntialiasedResize', scale=(300, 260)),
        dict(type='CenterCrop', crop_size=225),
    ],
    'antialiased and smaller': [dict(type='AntialiasedResize', scale=(60, 80))],
    'crop, then antialiased': [
        dict(type='CenterCrop', crop_size=80),
        dict(type='AntialiasedResize', scale=(120, 200)),
    ],
    'edge and crop': [
        dict(type='ResizeEdge', scale=101, edge='short'),
        dict(type='CenterCrop', crop_size=64),
    ],
    'keep ratio': [dict(type='Resize', scale=(150, 150), keep_ratio=True)],
    'crop, then resize': [
        dict(type='CenterCrop', crop_size=80),
        dict(type='Resize', scale=(120, 200)),
    ],
    'crop alone': [dict(type='CenterCrop', crop_size=75)],
    'flipped': [
        dict(type='Resize', scale=(200, 133)),
        dict(type='RandomFlip', prob=1.0, direction='horizontal'),
        dict(type='CenterCrop', crop_size=120),
    ],
    'flipped after the crop': [
        dict(type='ResizeEdge', scale=140),
        dict(type='CenterCrop', crop_size=101),
        dict(type='RandomFlip', prob=1.0, direction='vertical'),
    ],
    'turned': [dict(type='RandomFlip', prob=1.0, direction='diagonal')],
}


@pytest.mark.parametrize('name', PIPELINES)
@pytest.mark.parametrize('size', [(150, 211), (212, 149)])
def test_a_drawn_box_is_found_again(name, size):
    """Draw a box, transform the image, and get the box back to one pixel."""
    height, width = size
    box = [width // 2 - 20, height // 2 - 14, width // 2 + 26, height // 2 + 22]
    image = np.zeros((height, width, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    pipeline = Compose(
        [
            TRANSFORMS.build(t)
            for t in [*PIPELINES[name], dict(type='PackInputs', meta_keys=KEYS)]
        ]
    )
    packed = pipeline(dict(img=image, img_shape=size, ori_shape=size))
    sample, transformed = packed['data_samples'], packed['inputs'][0] > 127
    ys, xs = transformed.nonzero().unbind(1)
    found = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float()
    # One pixel of the coarser of the two images.
    tolerance = max(1.0, *(1 / s for s in sample.get('scale_factor', (1.0, 1.0))))
    expected = torch.tensor(box).float()
    torch.testing.assert_close(to_original(found, sample), expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(
        to_input(to_original(found, sample), sample), found, rtol=0, atol=1e-3
    )


@pytest.mark.parametrize('name', PIPELINES)
def test_these_pipelines_are_accepted(name):
    check_pipeline(Compose([TRANSFORMS.build(t) for t in PIPELINES[name]]))


@pytest.mark.parametrize(
    'transforms',
    [
        [dict(type='EfficientNetCenterCrop', crop_size=64)],
        [dict(type='Resize', scale=(60, 60)), dict(type='ResizeEdge', scale=30)],
        [dict(type='RandomResizedCrop', scale=64)],
    ],
)
def test_other_pipelines_are_refused(transforms):
    with pytest.raises(ValueError, match=transforms[-1]['type']):
        check_pipeline(Compose([TRANSFORMS.build(t) for t in transforms]))


def views(*transforms):
    pack = [dict(type='PackInputs')]
    loading = [dict(type='LoadImage')]
    return [*loading, dict(type='TestTimeAug', transforms=[list(transforms), pack])]


def test_views_of_test_time_augmentation():
    """Each is a pipeline of its own."""
    fine = views(dict(type='Resize', scale=60), dict(type='RandomFlip', prob=1.0))
    check_pipeline(Compose([TRANSFORMS.build(t) for t in fine]))
    odd = views(dict(type='Resize', scale=60), dict(type='RandomResizedCrop', scale=64))
    with pytest.raises(ValueError, match='of LoadImage, RandomResizedCrop'):
        check_pipeline(Compose([TRANSFORMS.build(t) for t in odd]))


@pytest.mark.parametrize('name', PIPELINES)
def test_pipelines_of_one_size(name):
    pipeline = Compose([TRANSFORMS.build(config) for config in PIPELINES[name]])
    shapes = set()
    for size in ((150, 211), (212, 149)):
        image = np.zeros((*size, 3), np.uint8)
        results = pipeline(dict(img=image, img_shape=size, ori_shape=size))
        shapes.add(results['img'].shape)
    # As they were loaded, they may have one.
    expected = None if name in ('nothing', 'turned') else len(shapes) == 1
    assert gives_one_size(pipeline) is expected


def test_a_size_that_one_cannot_tell():
    resize = dict(type='Resize', scale=60)
    crop = dict(type='EfficientNetCenterCrop', crop_size=9)
    pipeline = Compose([TRANSFORMS.build(config) for config in (resize, crop)])
    assert gives_one_size(pipeline) is None
