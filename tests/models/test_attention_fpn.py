import pytest
import torch
import torch.nn.functional as F

from apcnn_mm.models import AttentionFPN

INPUTS = ((16, 13, 9), (24, 7, 5), (32, 4, 3))


def features(n=2):
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(n, *shape, generator=generator) for shape in INPUTS)


def neck(**options):
    torch.manual_seed(0)
    return AttentionFPN(**{'in_channels': [16, 24, 32], 'out_channels': 32, **options})


@pytest.mark.parametrize('spatial', [None, 'gate', 'pathway'])
@pytest.mark.parametrize('channel', [None, 'gate', 'pathway'])
def test_table_3(spatial, channel):
    """The two words span Table 3, and every parameter is used."""
    module = neck(spatial=spatial, channel=channel)
    pyramid = module(features())
    for level, (_, h, w) in enumerate(INPUTS):
        assert pyramid.features[level].shape == (2, 32, h, w)
        assert pyramid.attended[level].shape == (2, 32, h, w)
        if spatial:
            assert pyramid.spatial[level].shape == (2, 1, h, w)
            assert 0 <= pyramid.spatial[level].min() < pyramid.spatial[level].max() <= 1
    if not spatial:
        assert pyramid.spatial is None
    sum(x.sum() for x in pyramid.attended).backward()
    assert all(p.grad is not None for p in module.parameters())


def test_equation_4():
    module = neck(channel='gate').eval()
    pyramid = module(features())
    levels = zip(*pyramid[:3], module.channel_gates)
    for x, spatial, attended, gate in levels:
        torch.testing.assert_close(attended, x * (spatial + gate(x)))


@pytest.mark.parametrize('fusion', ['average', 'sum'])
def test_channel_pathway(fusion):
    module = neck(spatial=None, pathway_fusion=fusion).eval()
    pyramid = module(features())
    masks = [gate(x) for gate, x in zip(module.channel_gates, pyramid.features)]
    scale = 2 if fusion == 'average' else 1
    masks[1] = (masks[1] + masks[0]) / scale
    masks[2] = (masks[2] + masks[1]) / scale
    for x, mask, attended in zip(pyramid.features, masks, pyramid.attended):
        torch.testing.assert_close(attended, x * mask)


@pytest.mark.parametrize('fusion', ['average', 'sum'])
def test_spatial_pathway(fusion):
    """Masks shrink by averaging on their way up."""
    module = neck(spatial='pathway', channel=None, pathway_fusion=fusion).eval()
    pyramid = module(features())
    gates = zip(module.spatial_gates, pyramid.features)
    masks = [gate(x).sigmoid() for gate, x in gates]
    assert pyramid.logits is None
    scale = 2 if fusion == 'average' else 1
    for level in (1, 2):
        below = F.adaptive_avg_pool2d(masks[level - 1], masks[level].shape[-2:])
        masks[level] = (masks[level] + below) / scale
    for expected, mask, x, attended in zip(
        masks, pyramid.spatial, pyramid.features, pyramid.attended
    ):
        torch.testing.assert_close(mask, expected)
        torch.testing.assert_close(attended, x * expected)


def test_spatial_gates_start_unsaturated():
    """With PyTorch's own initialisation, most of the attention starts at 0 or 1."""
    torch.manual_seed(0)
    module = AttentionFPN([64, 128, 256])
    module.init_weights()
    inputs = [torch.randn(2, c, s, s).relu() for c, s in ((64, 28), (128, 14), (256, 7))]
    attention = torch.cat([x.flatten() for x in module(tuple(inputs)).spatial])
    assert ((attention < 0.01) | (attention > 0.99)).float().mean() < 0.1


def test_without_attention():
    pyramid = neck(spatial=None, channel=None)(features())
    assert all(a is x for a, x in zip(pyramid.attended, pyramid.features))


def test_plain_lateral():
    module = neck(global_context=False)
    assert module.lateral_convs[-1].conv.weight.shape == (32, 32, 1, 1)
    # A batch of one is normalised over nothing without the pooled branch.
    module.train()(features(n=1))


@pytest.mark.parametrize(
    'options',
    [
        dict(spatial='gates'),
        dict(channel='sum'),
        dict(pathway_fusion='mean'),
        dict(reduction=64),
        dict(reduction=0),
        dict(out_channels='32'),
        dict(global_context=None),
        dict(norm_cfg=None),
        dict(in_channels=32),
    ],
)
def test_bad_arguments(options):
    (name,) = options
    with pytest.raises((TypeError, ValueError), match=f'neck.{name}'):
        neck(**options)
