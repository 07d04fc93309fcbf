"""The second look at the original picture, from the pipeline to the model."""

import numpy as np
import pytest
import torch
from PIL import Image

from apcnn_mm.models.original import cut_and_resize

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
NOTED = dict(img_shape=None, flip=None, flip_direction=None)


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
