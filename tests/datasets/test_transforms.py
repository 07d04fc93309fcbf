import numpy as np
import pytest
from mmpretrain.registry import TRANSFORMS


def load(height, width):
    image = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    shape = (height, width)
    return dict(img_path='/data/plane.jpg', img=image, img_shape=shape, ori_shape=shape)


def remove(results, **options):
    return TRANSFORMS.build(dict(type='RemoveBottomRows', **options))(results)


@pytest.mark.parametrize('options, rows', [({}, 20), ({'height': 7}, 7)])
def test_rows_are_removed_at_the_bottom(options, rows):
    image = load(48, 30)['img']
    results = remove(load(48, 30), **options)
    np.testing.assert_array_equal(results['img'], image[: 48 - rows])
    assert results['img_shape'] == results['ori_shape'] == (48 - rows, 30)


def test_one_row_must_remain():
    assert remove(load(21, 30))['img'].shape == (1, 30, 3)
    with pytest.raises(ValueError, match='/data/plane.jpg has 20 rows'):
        remove(load(20, 30))


@pytest.mark.parametrize('height', [-1, 2.5, '20', None, True])
def test_wrong_height(height):
    with pytest.raises((TypeError, ValueError), match='RemoveBottomRows.height'):
        remove(load(48, 30), height=height)
