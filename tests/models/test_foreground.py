import pytest
import torch

from apcnn_mm.models import AttentionFPN
from apcnn_mm.models.foreground import ForegroundGate, foreground_maps

INPUTS = ((16, 26, 18), (24, 13, 9), (32, 7, 5))


def features(n=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, *shape, generator=generator).relu() for shape in INPUTS]


def with_object():
    """An active object in the upper left quarter, whose texture other channels show."""
    inputs = features()
    for x in inputs:
        h, w = x.shape[-2:]
        x[:, ::2, : h // 2, : w // 2] += 2
    return inputs


def test_a_batch_equals_its_singles():
    inputs = features(3)
    batch = foreground_maps(inputs)
    for i in range(3):
        single = foreground_maps([x[i : i + 1] for x in inputs])
        for one, many in zip(single, batch):
            torch.testing.assert_close(one[0], many[i], rtol=1e-4, atol=1e-5)


def test_standardised():
    """Whatever the scale of the features and their precision."""
    inputs = features()
    for x, y in zip(foreground_maps(inputs), foreground_maps([50 * x for x in inputs])):
        assert x.dtype == torch.float32 and not x.requires_grad
        torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(x.mean((1, 2, 3)), torch.zeros(2), rtol=0, atol=1e-5)
        torch.testing.assert_close(x.square().mean((1, 2, 3)), torch.ones(2))
    for x in foreground_maps([x.half() for x in inputs]):
        assert x.dtype == torch.float32


def test_the_object_is_in_front():
    for x in foreground_maps(with_object()):
        h, w = x.shape[-2:]
        inside = torch.zeros(h, w, dtype=torch.bool)
        inside[: h // 2 - 1, : w // 2 - 1] = True
        far = torch.zeros(h, w, dtype=torch.bool)
        far[h // 2 + 1 :, w // 2 + 1 :] = True
        assert x[..., inside].min() > x[..., far].max()


def test_its_sign_comes_from_the_activity():
    """Low levels that are less active on the object than elsewhere."""
    inputs = with_object()
    expected = foreground_maps(inputs)
    inputs[0] = 5 - inputs[0]
    for x, y in zip(foreground_maps(inputs), expected):
        torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('size', [(5, 4), (1, 1)])
def test_nothing_is_active(size):
    for x in foreground_maps([torch.zeros(2, c, *size) for c, _, _ in INPUTS]):
        assert torch.equal(x, torch.zeros(2, 1, *size))


@pytest.mark.parametrize('scale', [2.0, -2.0])
def test_the_gate_cannot_turn_round(scale):
    gate = ForegroundGate()
    gate.scale.data.fill_(scale)
    x = torch.linspace(-3, 3, 20).view(1, 1, 4, 5)
    mask = gate(x).sigmoid().flatten()
    assert (mask.diff() > 0).all() and 0 < mask.min() and mask.max() < 1


@pytest.mark.parametrize('spatial', ['gate', 'pathway'])
def test_in_the_neck(spatial):
    torch.manual_seed(0)
    neck = AttentionFPN([16, 24, 32], 32, spatial=spatial, spatial_gate='foreground')
    inputs = features()
    pyramid = neck(inputs)
    first = foreground_maps(inputs)[0]
    torch.testing.assert_close(pyramid.spatial[0], first.sigmoid())
    sum(x.square().sum() for x in pyramid.attended).backward()
    assert all(p.grad is not None for p in neck.parameters())
    assert all(p.grad.any() for p in neck.spatial_gates.parameters())


def test_two_stages(tiny_model):
    model = tiny_model(**{'neck.spatial_gate': 'foreground'})
    samples = model.eval()(torch.randn(2, 3, 128, 128), mode='predict')
    assert all(len(sample.rois) for sample in samples)


def test_bad_argument():
    with pytest.raises(ValueError, match='spatial_gate'):
        AttentionFPN([16, 24, 32], 32, spatial_gate='conv')
