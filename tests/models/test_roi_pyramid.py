import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.ops import nms

from apcnn_mm.models import ROIPyramidGenerator, roi_selection

STRIDES, SIZES, TOPK = (8, 16, 32), (64, 128, 256), (5, 3, 1)


def random_attention(n, height, width, seed, levels=3):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.rand(n, 1, -(-height // s), -(-width // s), generator=generator)
        for s in STRIDES[:levels]
    ]


def one_level(attention, stride, size, topk, border, image_size):
    """ROIs of one level of one image, step by step as section 3.2 tells it."""
    h, w = attention.shape
    mask = torch.zeros(h, w)
    mask[
        int(border * h) : int((1 - border) * h), int(border * w) : int((1 - border) * w)
    ] = 1
    scores = (attention * mask).flatten()
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing='ij')
    centres = torch.stack([x, y], dim=-1).view(-1, 2).float() * stride
    anchors = torch.cat([centres - size / 2, centres + size / 2], dim=1)
    keep = scores > scores.mean()
    anchors, scores = anchors[keep], scores[keep]
    if len(anchors):
        _, index = nms(anchors, scores, 0.05, offset=1)
        anchors, scores = anchors[index[:topk]], scores[index[:topk]]
    height, width = image_size
    anchors[:, 0::2] = anchors[:, 0::2].clamp(0, width - 1)
    anchors[:, 1::2] = anchors[:, 1::2].clamp(0, height - 1)
    return anchors, scores


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 5),
    height=st.integers(64, 300),
    width=st.integers(64, 300),
    border=st.sampled_from([0.0, 0.1, 0.2, 0.3]),
    sharpness=st.sampled_from([0.1, 1.0, 20.0]),
    seed=st.integers(0, 2**31),
)
def test_batched_nms_equals_one_by_one(n, height, width, border, sharpness, seed):
    attention = [a**sharpness for a in random_attention(n, height, width, seed)]
    generator = ROIPyramidGenerator(border=border, selection='nms')
    rois = generator(attention, (height, width))
    for i in range(n):
        boxes = []
        for level in range(3):
            expected, scores = one_level(
                attention[level][i, 0],
                STRIDES[level],
                SIZES[level],
                TOPK[level],
                border,
                (height, width),
            )
            place = rois.levels == level
            valid = rois.valid[i, place]
            assert valid.sum() == len(expected)
            torch.testing.assert_close(
                rois.boxes[i, place][valid], expected, rtol=0, atol=0
            )
            torch.testing.assert_close(rois.scores[i, place][valid], scores, rtol=0, atol=0)
            boxes.append(expected)
        boxes = torch.cat(boxes)
        if len(boxes):
            merged = torch.cat([boxes[:, :2].amin(0), boxes[:, 2:].amax(0)])
        else:
            merged = torch.tensor([0.0, 0.0, width, height])
        torch.testing.assert_close(rois.merged_box[i], merged, rtol=0, atol=0)


@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(1, 4),
    height=st.integers(33, 300),
    width=st.integers(33, 300),
    border=st.sampled_from([0.0, 0.1, 0.3]),
    center_offset=st.sampled_from([0.0, 0.5, 1.0]),
    iou_threshold=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    topk=st.sampled_from([TOPK, (0, 3, 1), (1, 0, 12)]),
    steps=st.sampled_from([2, 5, 10**6]),
    seed=st.integers(0, 2**31),
)
def test_greedy_selection_equals_nms(
    n, height, width, border, center_offset, iou_threshold, topk, steps, seed
):
    """Ties, many or no candidates, more places than cells: the same ROIs."""
    attention = [
        (a * steps).round() / steps for a in random_attention(n, height, width, seed)
    ]
    options = dict(topk=topk, iou_threshold=iou_threshold, border=border)
    nms_rois, greedy_rois = (
        ROIPyramidGenerator(selection=selection, center_offset=center_offset, **options)(
            attention, (height, width)
        )
        for selection in ('nms', 'greedy')
    )
    for name in ('boxes', 'scores', 'valid', 'levels', 'merged_box'):
        assert torch.equal(getattr(nms_rois, name), getattr(greedy_rois, name)), name


@pytest.mark.parametrize('mode', ['compiled', 'exported'])
def test_selection_without_a_break(mode):
    """In one graph, with the boxes of eager mode."""
    if mode == 'exported' and torch.__version__.startswith(('2.1', '2.2', '2.3', '2.4')):
        pytest.skip('torch.export names two constants alike before PyTorch 2.5')
    generator = ROIPyramidGenerator()

    class Selection(torch.nn.Module):
        def forward(self, *attention):
            rois = generator(attention, (96, 96))
            return rois.boxes, rois.merged_box

    attention = tuple(random_attention(2, 96, 96, seed=0))
    other = tuple(random_attention(2, 96, 96, seed=1))
    if mode == 'compiled':
        run = torch.compile(Selection(), fullgraph=True, backend='eager')
        run(*attention)
    else:
        run = torch.export.export(Selection(), attention).module()
    for ours, expected in zip(run(*other), Selection()(*other)):
        assert torch.equal(ours, expected)


def test_batch_equals_singles():
    attention = random_attention(4, 200, 136, seed=0)
    generator = ROIPyramidGenerator(border=0.2)
    batch = generator(attention, (200, 136))
    for i in range(4):
        single = generator([a[i : i + 1] for a in attention], (200, 136))
        for name in ('boxes', 'scores', 'valid', 'merged_box'):
            assert torch.equal(getattr(batch, name)[i], getattr(single, name)[0])


# 0.3 and 0.6 are no sums of powers of two: their mean is rounded.
@pytest.mark.parametrize('value', [0.0, 0.3, 0.5, 0.6, 1.0])
@pytest.mark.parametrize('border', [0.0, 0.2])
def test_constant_attention(value, border):
    attention = [torch.full_like(a, value) for a in random_attention(2, 160, 96, seed=0)]
    rois = ROIPyramidGenerator(border=border)(attention, (160, 96))
    assert torch.isfinite(rois.boxes).all() and torch.isfinite(rois.merged_box).all()
    x1, y1, x2, y2 = rois.merged_box.unbind(1)
    assert (x1 < x2).all() and (y1 < y2).all()
    if value == 0 or border == 0:  # nothing is above the mean
        assert not rois.valid.any()
        assert rois.merged_box.tolist() == [[0, 0, 96, 160]] * 2
        assert not rois.boxes.any() and not rois.scores.any()


def test_a_level_without_rois():
    attention = random_attention(2, 160, 160, seed=0)
    attention[1][0] = 0.5
    rois = ROIPyramidGenerator(border=0.0)(attention, (160, 160))
    assert rois.valid[0, rois.levels == 1].sum() == 0
    assert rois.valid[0, rois.levels == 0].sum() > 0
    assert rois.valid[1, rois.levels == 1].sum() > 0


def test_more_places_than_cells():
    generator = ROIPyramidGenerator(topk=(5, 3, 9), anchor_sizes=(8, 8, 8), border=0.0)
    rois = generator(random_attention(1, 64, 64, seed=0), (64, 64))
    assert rois.valid.shape == (1, 17)
    assert 1 <= rois.valid[0, rois.levels == 2].sum() <= 4


def test_center_offset_moves_the_anchors():
    attention = [torch.zeros(1, 1, 16, 16)]
    attention[0][0, 0, 5, 7] = 1
    options = dict(strides=(8,), anchor_sizes=(16,), topk=(1,), border=0.0)
    corner = ROIPyramidGenerator(**options)(attention, (128, 128))
    middle = ROIPyramidGenerator(center_offset=0.5, **options)(attention, (128, 128))
    assert corner.boxes[0, 0].tolist() == [48, 32, 64, 48]
    assert middle.boxes[0, 0].tolist() == [52, 36, 68, 52]


def test_random_guidance():
    """Boxes of the same sizes and number, but elsewhere each time."""
    attention = random_attention(2, 448, 448, seed=0)
    generator = ROIPyramidGenerator(guidance='random')
    torch.manual_seed(0)
    first, second = (generator(attention, (448, 448)) for _ in range(2))
    assert first.valid.all() and second.valid.all()
    assert not torch.equal(first.boxes, second.boxes)
    torch.manual_seed(0)
    assert torch.equal(generator(attention, (448, 448)).boxes, first.boxes)


def test_central_guidance():
    """The same boxes around the middle, whatever the attention of an image."""
    attention = random_attention(2, 448, 320, seed=0)
    generator = ROIPyramidGenerator(guidance='center', center_offset=0.5)
    rois = generator(attention, (448, 320))
    assert rois.valid.all() and torch.equal(rois.boxes[0], rois.boxes[1])
    x1, y1, x2, y2 = rois.merged_box[0].tolist()
    assert x1 > 0 and y1 > 0 and x2 < 319 and y2 < 447
    # An anchor of each level's side lies in the middle, to within a cell.
    best = rois.boxes[0, [0, 5, 8]]
    centers = (best[:, :2] + best[:, 2:]) / 2
    assert (
        (centers - torch.tensor([160, 224])).abs() <= torch.tensor([[8], [16], [32]])
    ).all()


def test_no_gradient():
    attention = [a.requires_grad_() for a in random_attention(1, 64, 64, seed=0)]
    rois = ROIPyramidGenerator()(attention, (64, 64))
    assert not rois.scores.requires_grad and not rois.merged_box.requires_grad


def test_released_rois(golden):
    """The ROIs of the released code, exactly, from its spatial attention."""
    data = golden('released_rois.npz')
    attention = [torch.from_numpy(data[f'spatial{k}']) for k in (3, 4, 5)]
    rois = ROIPyramidGenerator(border=0.2)(attention, (448, 448))
    for level, k in enumerate((3, 4, 5)):
        place = rois.levels == level
        ours = [
            [i, *box.tolist()]
            for i in range(len(rois.boxes))
            for box in rois.boxes[i, place][rois.valid[i, place]]
        ]
        np.testing.assert_array_equal(ours, data[f'rois{k}'])


@pytest.mark.parametrize(
    'options',
    [
        dict(topk=(1, 2)),
        dict(topk=(0, 0, 0)),
        dict(topk=(5, 3, 1.5)),
        dict(border=0.5),
        dict(border=-0.1),
        dict(border='0.1'),
        dict(guidance='luck'),
        dict(strides='8'),
        dict(anchor_sizes=(64, 128, float('nan'))),
        dict(iou_threshold=None),
        dict(center_offset=float('inf')),
    ],
)
def test_bad_arguments(options):
    (name,) = options
    with pytest.raises((TypeError, ValueError), match=f'roi_generator.{name}'):
        ROIPyramidGenerator(**options)


def test_saturated_attention_is_ranked_by_its_logits():
    """Where the sigmoid is 1 everywhere, the logits still say where it is largest."""
    generator = torch.Generator().manual_seed(0)
    sizes = [448 // stride for stride in STRIDES]
    logits = [30 + torch.randn(2, 1, s, s, generator=generator) for s in sizes]
    spatial = [torch.ones_like(x) for x in logits]
    select = ROIPyramidGenerator(border=0.2)
    rois = select(spatial, (448, 448), logits)
    lower = select([(x - 30).sigmoid() for x in logits], (448, 448))
    best = [0, 5, 8]  # the first place of each level
    assert torch.equal(rois.boxes[:, best], lower.boxes[:, best])
    assert not torch.equal(select(spatial, (448, 448)).boxes[:, best], rois.boxes[:, best])


def test_wrong_number_of_levels():
    with pytest.raises(ValueError, match='2 levels'):
        ROIPyramidGenerator()(random_attention(1, 64, 64, seed=0, levels=2), (64, 64))


def test_wrong_strides():
    attention = random_attention(1, 448, 448, seed=0)
    with pytest.raises(ValueError, match='56 cells.*stride 4'):
        ROIPyramidGenerator(strides=(4, 16, 32))(attention, (448, 448))


def test_many_images(monkeypatch):
    """More than go into one call of NMS."""
    attention = random_attention(35, 96, 96, seed=0)
    monkeypatch.setattr(roi_selection, 'NMS_BOXES', 16 * (144 + 36 + 9))
    generator = ROIPyramidGenerator(selection='nms')
    rois = generator(attention, (96, 96))
    for i in (0, 15, 16, 34):
        single = generator([a[i : i + 1] for a in attention], (96, 96))
        assert torch.equal(rois.boxes[i], single.boxes[0])


@pytest.mark.gpu
def test_gpu_equals_cpu():
    for seed in range(20):
        attention = random_attention(4, 448, 320, seed)
        generator = ROIPyramidGenerator(selection='nms')
        cpu = generator(attention, (448, 320))
        gpu = generator([a.cuda() for a in attention], (448, 320))
        assert gpu.boxes.is_cuda
        for name in ('boxes', 'scores', 'valid', 'levels', 'merged_box'):
            assert torch.equal(getattr(cpu, name), getattr(gpu, name).cpu())
