import pytest
import torch
from mmpretrain.registry import METRICS
from mmpretrain.structures import DataSample

from apcnn_mm.evaluation.attention_measures import area_under_curve, gaussian, hits
from apcnn_mm.geometry import to_original
from apcnn_mm.models import ROIPyramidGenerator

GENERATOR = dict(type='ROIPyramidGenerator', anchor_sizes=(32, 64, 128), border=0.0)
LEVELS = ((28, 28), (14, 14), (7, 7))
OBJECTS = torch.tensor([[30.0, 40, 150, 180], [90, 60, 200, 140], [10, 10, 90, 200]])


def sample(merged, box, scale=1.0):
    merged = torch.tensor(merged, dtype=torch.float32) * scale
    return dict(
        merged_box=merged,
        object_box=box,
        ori_shape=(100, 100),
        img_shape=(100 * scale, 100 * scale),
        scale_factor=(scale, scale),
    )


def evaluate(samples, batch_size=None, **options):
    metric = METRICS.build(dict(type='ObjectLocalization', **options))
    for i in range(0, len(samples), batch_size or len(samples)):
        metric.process(None, samples[i : i + (batch_size or len(samples))])
    return metric.evaluate(len(samples))


def predictions(attention_of, objects=OBJECTS, **geometry):
    """Samples of 224 x 224 pixels with their ROIs, for attention from boxes and size."""
    levels = [attention_of(objects, size) for size in LEVELS]
    options = {key: value for key, value in GENERATOR.items() if key != 'type'}
    rois = ROIPyramidGenerator(**options)([x[:, None] for x in levels], (224, 224))
    samples = []
    for i, box in enumerate(objects):
        item = dict(ori_shape=(224, 224), img_shape=(224, 224), **geometry)
        item['object_box'] = to_original(box, item).tolist()
        item['merged_box'] = rois.merged_box[i]
        item['attention'] = tuple(level[i] for level in levels)
        samples.append(item)
    return samples


def perfect(boxes, size):
    return gaussian(boxes, size, (224, 224))


def inverted(boxes, size):
    return 1 - perfect(boxes, size)


def test_measures():
    """Boxes that are equal, half as large, twice as large and elsewhere."""
    samples = [
        sample([10, 10, 50, 50], [10, 10, 50, 50]),
        sample([10, 10, 30, 50], [10, 10, 50, 50], scale=2.0),
        sample([10, 10, 90, 50], [10, 10, 50, 50]),
        sample([60, 60, 90, 90], [10, 10, 50, 50]),
    ]
    assert evaluate(samples) == {
        'localization/mIoU': pytest.approx(50),
        'localization/recall': pytest.approx(62.5),
        'localization/recall@0.5': pytest.approx(75),
    }
    assert evaluate(samples, iou_threshold=0.75)['localization/recall@0.75'] == 25


def test_nothing_to_compare():
    without = sample([10, 10, 50, 50], [10, 10, 50, 50])
    del without['merged_box']
    assert evaluate([without]) == {}


def test_samples_that_pad_a_batch():
    """A distributed test has some twice, at the end; others have no boxes."""
    right, wrong, without = (sample([0, 0, 9, 9], [0, 0, x, 9]) for x in (9, 1, 5))
    del without['merged_box']
    metric = METRICS.build(dict(type='ObjectLocalization'))
    metric.process(None, [without, right, wrong, right])
    assert metric.evaluate(3)['localization/recall@0.5'] == 50


def test_area_under_curve_counts_pairs():
    """Against the definition, with ties, on maps that are not square."""
    torch.manual_seed(0)
    attention = torch.randint(0, 5, (3, 6, 9)).float()
    boxes = torch.tensor([[20.0, 10, 70, 50], [0, 0, 90, 30], [85, 55, 90, 60]])
    actual = area_under_curve(attention, boxes, (60, 90))
    for i, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        cells = [(10 * x + 5, 10 * y + 5) for y in range(6) for x in range(9)]
        inside = torch.tensor([x1 < x < x2 and y1 < y < y2 for x, y in cells])
        values = attention[i].flatten()
        difference = values[inside][:, None] - values[~inside][None]
        pairs = (difference > 0).float() + 0.5 * (difference == 0).float()
        if i == 2:  # no cell's centre is in the box
            assert torch.isnan(actual[i])
        else:
            torch.testing.assert_close(actual[i], pairs.mean())


def test_pointing():
    attention = torch.zeros(3, 4, 4)
    attention[0, 1, 2] = 1  # inside
    attention[1, 3, 0] = 1  # outside
    boxes = torch.tensor([[20.0, 10, 40, 20]]).expand(3, 4)  # cells (1, 2) and (1, 3)
    # The third map is constant: the share of its cells in the box.
    assert hits(attention, boxes, (40, 40)).tolist() == [1, 0, 2 / 16]


def test_perfect_attention():
    results = evaluate(predictions(perfect), roi_generator=GENERATOR)
    assert results['localization/skill'] == pytest.approx(100)
    assert results['localization/perfect_mIoU'] == results['localization/mIoU']
    for level in range(3):
        assert results[f'localization/auc_level{level}'] > 0.97
        assert results[f'localization/pointing_level{level}'] == 100


def test_attention_that_fills_the_box():
    """A map that is high in the box and only there has AUC 1, its complement 0."""

    def filled(boxes, size):
        y, x = (torch.arange(n) * 224 / n + 112 / n for n in size)
        x1, y1, x2, y2 = boxes[..., None].unbind(1)
        rows, columns = (y > y1) & (y < y2), (x > x1) & (x < x2)
        return (rows[..., None] & columns[:, None]).float()

    results = evaluate(predictions(filled))
    complement = evaluate(predictions(lambda *args: 1 - filled(*args)))
    for level in range(3):
        assert results[f'localization/auc_level{level}'] == 1
        assert complement[f'localization/auc_level{level}'] == 0
        assert complement[f'localization/pointing_level{level}'] == 0


def test_random_attention():
    torch.manual_seed(1)
    draw = torch.rand(80, 2, 2) * 100
    objects = torch.cat([draw[:, 0], draw[:, 0] + 20 + draw[:, 1]], dim=1)
    samples = predictions(lambda boxes, size: torch.rand(len(boxes), *size), objects)
    results = evaluate(samples, roi_generator=GENERATOR)
    for level in range(3):
        assert results[f'localization/auc_level{level}'] == pytest.approx(0.5, abs=0.05)
    assert abs(results['localization/skill']) < 10


def test_inverted_attention():
    results = evaluate(predictions(inverted), roi_generator=GENERATOR)
    for level in range(3):
        assert results[f'localization/auc_level{level}'] < 0.03
        assert results[f'localization/pointing_level{level}'] == 0
    assert results['localization/skill'] < 20


def test_batches_do_not_matter():
    samples = predictions(perfect) + predictions(inverted)
    expected = evaluate(samples, roi_generator=GENERATOR)
    for batch_size in (1, 4):
        actual = evaluate(samples, batch_size, roi_generator=GENERATOR)
        assert actual == pytest.approx(expected)


def test_order_does_not_matter():
    """But for the draw of the random attention."""
    samples = predictions(perfect) + predictions(inverted)
    expected = evaluate(samples, roi_generator=GENERATOR)
    actual = evaluate(samples[::-1], roi_generator=GENERATOR)
    for name in ('localization/random_mIoU', 'localization/skill'):
        del expected[name], actual[name]
    assert actual == pytest.approx(expected)


def test_attention_lies_in_the_input():
    """Flips, scales and crops move the box, not the attention."""
    plain = evaluate(predictions(perfect), roi_generator=GENERATOR)
    flipped = predictions(perfect, flip=True, flip_direction='horizontal')
    assert evaluate(flipped, roi_generator=GENERATOR) == pytest.approx(plain)
    samples = predictions(perfect)
    for item, box in zip(samples, OBJECTS):
        # From 512 x 384 pixels to 256 x 256, of which 224 x 224 are cut out.
        item.update(ori_shape=(384, 512), scale_factor=(0.5, 2 / 3))
        item['object_box'] = to_original(box, item).tolist()
    assert evaluate(samples, roi_generator=GENERATOR) == pytest.approx(plain, rel=1e-4)


def test_frame_has_the_settings_of_the_generator():
    samples = predictions(perfect)
    few = dict(GENERATOR, topk=(1, 1, 1))
    many = evaluate(samples, roi_generator=GENERATOR)
    results = evaluate(samples, roi_generator=few)
    assert results['localization/perfect_mIoU'] != many['localization/perfect_mIoU']
    # Random guidance of the model is no reason to call its attention random.
    guided = evaluate(samples, roi_generator=dict(GENERATOR, guidance='random'))
    assert guided == many


def test_constant_box():
    box = torch.tensor([[56.0, 28, 168, 196]]).expand(3, 4)  # 50 % x 75 %, in the middle
    results = evaluate(predictions(perfect, box), roi_generator=GENERATOR)
    assert results['localization/constant_mIoU'] == pytest.approx(100)


def test_without_attention():
    """Predictions that an earlier version has dumped."""
    samples = predictions(perfect)
    for item in samples:
        del item['attention']
    assert set(evaluate(samples, roi_generator=GENERATOR)) == {
        'localization/mIoU',
        'localization/recall',
        'localization/recall@0.5',
    }


def test_several_input_sizes():
    samples = [*predictions(perfect), sample([10, 10, 50, 50], [10, 10, 50, 50])]
    samples[-1]['attention'] = tuple(torch.rand(s, s) for s in (13, 7, 4))
    results = evaluate(samples, roi_generator=GENERATOR)
    assert len(results) == 3 + 6 + 4


@pytest.mark.parametrize('threshold', [-0.1, 1.5, 'half'])
def test_bad_threshold(threshold):
    with pytest.raises((TypeError, ValueError), match='iou_threshold'):
        evaluate([], iou_threshold=threshold)


@pytest.mark.parametrize('stage', ['raw', 'refined', 'both'])
def test_predictions_of_a_model(tiny_model, stage):
    """Whichever stage counts, the attention is the one that the ROIs come from."""
    model = tiny_model(test_cfg=dict(stage=stage)).eval()
    geometry = dict(ori_shape=(128, 96), img_shape=(128, 96))
    samples = [DataSample(metainfo=dict(object_box=[20, 30, 70, 90], **geometry))] * 2
    samples = [sample.clone() for sample in samples]
    inputs = torch.randn(2, 3, 128, 96)
    samples = model(inputs, samples, mode='predict')
    levels = [torch.stack(level)[:, None] for level in zip(*(s.attention for s in samples))]
    rois = model.roi_generator(levels, (128, 96))
    assert torch.equal(rois.merged_box, torch.stack([s.merged_box for s in samples]))
    results = evaluate(
        [sample.to_dict() for sample in samples], roi_generator=model.roi_generator
    )
    assert 0 <= results['localization/auc_level2'] <= 1
    assert 0 < results['localization/random_mIoU'] < 100
