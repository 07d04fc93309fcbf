import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from apcnn_mm.models import ROIPyramid, ROIPyramidGenerator
from apcnn_mm.models.refinement import (
    feature_stride,
    roi_guided_dropblock,
    roi_guided_zoom_in,
)


def make_rois(boxes, levels, image_size, merged_box=None):
    """A pyramid in which all of the boxes, (N, K, 4), are valid."""
    boxes = torch.as_tensor(boxes, dtype=torch.float32)
    if merged_box is None:
        merged_box = torch.cat([boxes[..., :2].amin(1), boxes[..., 2:].amax(1)], dim=1)
    return ROIPyramid(
        boxes=boxes,
        scores=torch.ones(boxes.shape[:2]),
        valid=torch.ones(boxes.shape[:2], dtype=torch.bool),
        levels=torch.as_tensor(levels),
        merged_box=torch.as_tensor(merged_box, dtype=torch.float32),
        image_size=image_size,
    )


@settings(max_examples=60, deadline=None)
@given(
    h=st.integers(8, 40),
    w=st.integers(8, 40),
    corners=st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=4),
    seed=st.integers(0, 2**31),
)
def test_zoom_in_equals_interpolated_crops(h, w, corners, seed):
    x = torch.randn(len(corners), 3, h, w, generator=torch.Generator().manual_seed(seed))
    boxes = torch.tensor(corners) * torch.tensor([w, h, w, h]) * 8 - 1
    boxes = torch.cat(
        [boxes[:, :2].minimum(boxes[:, 2:]), boxes[:, :2].maximum(boxes[:, 2:])], 1
    )
    rois = make_rois(boxes[:, None].clamp(min=0), [0], (h * 8, w * 8))
    zoomed = roi_guided_zoom_in(x, rois)
    for image, box, result in zip(x, (rois.merged_box / 8).int().tolist(), zoomed):
        x1, y1, x2, y2 = box
        x1, y1 = min(x1, w - 1), min(y1, h - 1)
        crop = image[None, :, y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]
        expected = F.interpolate(crop, (h, w), mode='bilinear', align_corners=False)
        torch.testing.assert_close(result[None], expected, rtol=0, atol=2e-5)


def test_zoom_into_the_whole_image_changes_nothing():
    x = torch.randn(2, 3, 14, 10)
    rois = make_rois([[[0, 0, 80, 112]]] * 2, [0], (112, 80))
    torch.testing.assert_close(roi_guided_zoom_in(x, rois), x, rtol=0, atol=1e-5)


def test_the_whole_image_is_the_whole_map():
    """Where there is no ROI: not a row and a column of cells fewer."""
    x = torch.randn(1, 3, 14, 10)
    blank = [torch.zeros(1, 1, 14, 10)]
    generator = ROIPyramidGenerator((8,), (64,), (5,))
    rois = generator(blank, (112, 80))
    assert torch.equal(roi_guided_zoom_in(x, rois), x)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('size', [56, 200])
def test_zoom_in_at_half_precision(dtype, autocast, size):
    """It reads where float32 reads: values are rounded, places are not."""
    stride = 448 // 56
    rois = make_rois([[[70, 90, 420, 400]]], [0], (size * stride, size * stride))
    x = torch.randn(1, 4, size, size, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = roi_guided_zoom_in(x.float(), rois)
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
        zoomed = roi_guided_zoom_in(x, rois)
    assert zoomed.dtype is dtype
    torch.testing.assert_close(zoomed, expected.to(dtype), rtol=0, atol=0)


def test_memory_format_is_kept():
    x = torch.randn(2, 8, 12, 12).contiguous(memory_format=torch.channels_last)
    rois = make_rois([[[16, 8, 48, 40]]] * 2, [0], (96, 96))
    for y in (roi_guided_zoom_in(x, rois), roi_guided_dropblock(x, rois, (1.0,))):
        assert y.is_contiguous(memory_format=torch.channels_last)


def test_gradient_reaches_the_crop_alone():
    x = torch.randn(1, 2, 8, 8, requires_grad=True)
    roi_guided_zoom_in(x, make_rois([[[16, 8, 48, 40]]], [0], (64, 64))).sum().backward()
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[1:5, 2:6] = True
    assert torch.equal(x.grad[0, 0] != 0, inside)


def test_dropblock_erases_one_roi_and_keeps_the_sum():
    torch.manual_seed(0)
    boxes = [[0, 0, 16, 16], [24, 24, 56, 48], [0, 32, 16, 64]]
    rois = make_rois([boxes] * 200, [0, 0, 1], (64, 64))
    dropped = roi_guided_dropblock(torch.ones(200, 1, 8, 8), rois, (0.5, 0.25))
    # Eq. 6 keeps the sum of a constant map.
    torch.testing.assert_close(dropped.sum((1, 2, 3)), torch.full((200,), 64.0))
    patterns = {}
    for image in dropped[:, 0]:
        patterns.setdefault(tuple((image == 0).nonzero().flatten().tolist()), []).append(1)
    cells = {len(p) // 2: len(v) for p, v in patterns.items()}
    # Nothing, ROI 0 (2 x 2 cells), ROI 1 (4 x 3) and ROI 2 (2 x 4).
    assert set(cells) == {0, 4, 12, 8}
    for size, probability in ((0, 0.25), (4, 0.25), (12, 0.25), (8, 0.25)):
        assert abs(cells[size] / 200 - probability) < 0.1


def test_dropblock_without_probability_changes_nothing():
    x = torch.randn(3, 2, 8, 8)
    rois = make_rois([[[0, 0, 64, 64]]] * 3, [0], (64, 64))
    assert torch.equal(roi_guided_dropblock(x, rois, (0.0,)), x)


@pytest.mark.parametrize('gain', ['map', 'crop', 'released'])
def test_dropblock_that_would_leave_nothing(gain):
    """The released code divides by zero where a ROI covers the merged box."""
    x = torch.rand(2, 2, 8, 8) + 1
    rois = make_rois([[[0, 0, 64, 64]]] * 2, [0], (64, 64))
    assert torch.equal(roi_guided_dropblock(x, rois, (1.0,), gain), x)


def test_dropblock_skips_levels_without_rois():
    x = torch.rand(4, 2, 8, 8) + 1
    rois = make_rois([[[0, 0, 16, 16], [0, 0, 64, 64]]] * 4, [0, 1], (64, 64))
    rois.valid[::2, 0] = False
    dropped = roi_guided_dropblock(x, rois, (1.0, 0.0))
    assert torch.equal(dropped[::2], x[::2])
    assert not dropped[1::2, :, :2, :2].any()


def test_dropblock_follows_the_seed():
    x = torch.ones(8, 1, 8, 8)
    rois = make_rois([[[0, 0, 16, 16], [32, 32, 64, 64]]] * 8, [0, 0], (64, 64))

    def run(seed):
        torch.manual_seed(seed)
        return roi_guided_dropblock(x, rois, (0.5,))

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_unknown_gain():
    rois = make_rois([[[0, 0, 16, 16]]], [0], (64, 64))
    with pytest.raises(ValueError, match='dropblock_gain'):
        roi_guided_dropblock(torch.ones(1, 1, 8, 8), rois, (1.0,), 'other')


@pytest.mark.parametrize('width', [64, 100, 127, 224, 448, 500])
def test_feature_stride(width):
    for stride in (2, 4, 8):
        rois = make_rois([[[0, 0, 1, 1]]], [0], (64, width))
        for cells in {-(-width // stride), width // stride}:
            assert feature_stride(torch.zeros(1, 1, 8, cells), rois) == stride
    assert feature_stride(torch.zeros(1, 3, 64, width), rois) == 1


def released_rois(data):
    """The released code's ROIs as a pyramid."""
    boxes = [data[f'rois{k}'] for k in (3, 4, 5)]
    assert [len(level) for level in boxes] == [10, 6, 2]
    per_image = [
        [box[1:] for level in boxes for box in level if box[0] == image] for image in (0, 1)
    ]
    return make_rois(per_image, [0] * 5 + [1] * 3 + [2], (448, 448))


@pytest.mark.parametrize(
    'name, place',
    [('drop3_roi0', 0), ('drop3_roi4', 4), ('drop4_roi1', 6), ('none', None)],
)
def test_released_refinement(golden, name, place):
    """Training-mode refinement of the released code, for a forced choice."""
    data = golden('released_refinement.npz')
    features = torch.from_numpy(data['B3'])
    rois = released_rois(data)
    probs = [0.0, 0.0, 0.0]
    if place is not None:
        # Only this ROI can be drawn. The merged box stays that of all.
        rois.valid[:] = False
        rois.valid[:, place] = True
        probs[rois.levels[place]] = 1.0
    dropped = roi_guided_dropblock(features, rois, probs, 'released')
    expected = torch.from_numpy(data[name])
    torch.testing.assert_close(
        roi_guided_zoom_in(dropped, rois), expected, rtol=0, atol=1e-4
    )
