"""ROIs and their refinement on random pyramids, the odd ones more often than in life."""

import math
import random

import pytest
import torch

from apcnn_mm.models import ROIPyramidGenerator
from apcnn_mm.models.refinement import roi_guided_dropblock, roi_guided_zoom_in

KINDS = {
    'random': lambda a, draw: a,
    'constant': lambda a, draw: torch.full_like(a, draw.choice([0.0, 0.3, 0.5, 0.6, 1.0])),
    'one cell': lambda a, draw: (a == a.amax(dim=(2, 3), keepdim=True)).float(),
    'saturated': lambda a, draw: (a > 0.5).float(),
    'ties': lambda a, draw: (a * 4).round() / 4,
    'tiny': lambda a, draw: a * 1e-40,
    'negative': lambda a, draw: -a,
    'one NaN': lambda a, draw: spoil(a, draw, math.nan),
    'one inf': lambda a, draw: spoil(a, draw, math.inf),
    'one -inf': lambda a, draw: spoil(a, draw, -math.inf),
    'an image of NaN': lambda a, draw: spoil(a, draw, math.nan, whole=True),
}


def spoil(attention, draw, value, whole=False):
    """With a value that is not finite in one image."""
    image = attention[draw.randrange(len(attention))]
    image.view(-1)[slice(None) if whole else draw.randrange(image.numel())] = value
    return attention


def draw_case(seed):
    """A generator, its attention and the size of the input."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    levels = draw.randint(1, 4)
    strides = [draw.choice([4, 8, 16]) * 2**i for i in range(levels)]
    topk = [draw.choice([0, 1, 2, 3, 5, 50]) for _ in range(levels)]
    generator = ROIPyramidGenerator(
        strides=strides,
        anchor_sizes=[draw.choice([1, 4, 18, 37, 64, 256, 1000]) for _ in strides],
        topk=topk if any(topk) else [1] * levels,
        iou_threshold=draw.choice([0.0, 0.05, 0.3, 1.0, draw.random()]),
        border=draw.choice([0.0, 0.1, 0.2, 0.49]),
        center_offset=draw.choice([0.0, 0.0, 0.5, 1.0]),
    )
    height, width = draw.randint(32, 160), draw.randint(32, 160)
    images = draw.choice([1, 2, 3, 17])
    kind, to_cells = KINDS[draw.choice(list(KINDS))], draw.choice([math.ceil, math.floor])
    dtype = draw.choice([torch.float32, torch.float32, torch.bfloat16])
    spatial = []
    for stride in strides:
        cells = [max(1, to_cells(side / stride)) for side in (height, width)]
        spatial.append(kind(torch.rand(images, 1, *cells), draw).to(dtype))
    return draw, generator, spatial, (height, width)


def check_rois(generator, spatial, rois, image_size):
    n, k = len(spatial[0]), sum(generator.topk)
    height, width = image_size
    assert rois.boxes.shape == (n, k, 4) and rois.merged_box.shape == (n, 4)
    assert rois.scores.shape == rois.valid.shape == (n, k) and rois.levels.shape == (k,)
    boxes = rois.boxes[rois.valid]
    assert torch.isfinite(boxes).all() and torch.isfinite(rois.merged_box).all()
    assert (boxes >= 0).all() and (boxes[:, :2] <= boxes[:, 2:]).all()
    assert (boxes[:, 2] <= width - 1).all() and (boxes[:, 3] <= height - 1).all()
    for i in range(n):
        found, merged = rois.boxes[i, rois.valid[i]], rois.merged_box[i]
        # The whole image ends behind its last pixel.
        whole = merged.new_tensor([0, 0, width, height])
        around = (found[:, :2].amin(0), found[:, 2:].amax(0)) if len(found) else [whole]
        assert torch.equal(merged, torch.cat([*around]))
        if generator.border == 0 and all(a[i].min() == a[i].max() for a in spatial):
            assert not len(found)  # no cell is above the mean
        finite = all(torch.isfinite(attention[i]).all() for attention in spatial)
        if finite:
            assert torch.isfinite(rois.scores[i]).all()
        if i in (0, n - 1) and n > 1:  # whatever the others are like
            single = generator([attention[i : i + 1] for attention in spatial], image_size)
            for name in ('boxes', 'valid', 'merged_box', *(['scores'] if finite else [])):
                assert torch.equal(getattr(single, name)[0], getattr(rois, name)[i]), name


def check_refinement(draw, rois, stride, dtype):
    n, (height, width) = len(rois.valid), rois.image_size
    cells = [max(1, math.ceil(side / stride)) for side in (height, width)]
    features = torch.randn(n, 3, *cells).to(dtype).requires_grad_()
    levels = int(rois.levels.max()) + 1
    shares = [draw.random() for _ in range(levels)]
    probs = [share / sum(shares) for share in shares]
    gain = draw.choice(['map', 'crop', 'released'])
    dropped = roi_guided_dropblock(features, rois, probs, gain)
    zoomed = roi_guided_zoom_in(dropped, rois)
    zoomed.float().sum().backward()
    for values in (dropped, zoomed, features.grad):
        assert values.shape == features.shape and values.dtype == features.dtype
        assert torch.isfinite(values).all()
    # Something is left of each image.
    assert dropped.flatten(1).any(1).all() and zoomed.flatten(1).any(1).all()
    with torch.no_grad():
        single = zoom_one(features, rois, n - 1)
    torch.testing.assert_close(single[0], roi_guided_zoom_in(features, rois)[n - 1])


def zoom_one(features, rois, i):
    fields = {name: getattr(rois, name) for name in ('boxes', 'scores', 'valid')}
    one = rois._replace(
        merged_box=rois.merged_box[i : i + 1],
        **{name: values[i : i + 1] for name, values in fields.items()},
    )
    return roi_guided_zoom_in(features[i : i + 1], one)


@pytest.mark.parametrize('part', range(15))
def test_rois_and_refinement(part):
    for seed in range(20 * part, 20 * (part + 1)):
        draw, generator, spatial, image_size = draw_case(seed)
        try:
            rois = generator(spatial, image_size)
            check_rois(generator, spatial, rois, image_size)
            check_refinement(draw, rois, generator.strides[0], spatial[0].dtype)
        except Exception as error:
            raise AssertionError(f'seed {seed}') from error
