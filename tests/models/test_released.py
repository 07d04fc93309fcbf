"""AP-CNN on ResNet-50 against the values that the released code computes."""

import json
import sys
import zlib

import numpy as np
import pytest
import torch
from helpers import build_model

from apcnn_mm.models.backbone_split import run_onwards, run_until
from tools.model_converters.official_to_apcnn import convert

IMAGE_SIZE = (448, 448)


@pytest.fixture
def released(reference, monkeypatch):
    """Images, a converted model and the released code's values for them."""
    monkeypatch.syspath_prepend(str(reference / 'official'))
    import synthetic_weights

    path = reference / 'official'
    spec = json.loads((path / 'r50_200classes_state_dict.json').read_text())
    state_dict = convert(synthetic_weights.fill(spec))
    values = np.load(path / 'r50_200classes_448.npz')
    images = synthetic_weights.images(2, *IMAGE_SIZE, seed=3)
    sys.modules.pop('synthetic_weights')
    return images, state_dict, values


def close(actual, expected, atol):
    torch.testing.assert_close(actual, torch.from_numpy(expected), rtol=0, atol=atol)


def test_released_values(released):
    images, state_dict, values = released
    model = build_model('apcnn_r50_cub.py').eval()
    model.load_state_dict(state_dict)
    with torch.no_grad():
        low = run_until(model.backbone, images, None)
        raw = model.neck(run_onwards(model.backbone, low, None))
        rois = model.roi_generator(raw.spatial, IMAGE_SIZE, raw.logits)
        zoomed = model.head.refine(low, rois)
        refined = model.neck(run_onwards(model.backbone, zoomed, None))
        fused = model(images, mode='tensor')
    for stage, pyramid in (('raw', raw), ('refined', refined)):
        for level, k in enumerate((3, 4, 5)):
            features = pyramid.features[level][:, :4, ::4, ::4]
            close(features, values[f'{stage}/F{k}'], 1e-3)
            attended = pyramid.attended[level].mean((2, 3))
            close(attended, values[f'{stage}/attended{k}'], 1e-3)
            close(pyramid.spatial[level], values[f'{stage}/spatial{k}'], 1e-3)
        with torch.no_grad():
            logits = model.head.classify(pyramid)
        for x, name in zip(logits, ('3', '4', '5', '_concate')):
            close(x, values[f'{stage}/logits{name}'], 1e-3)
    for level, k in enumerate((3, 4, 5)):
        place = rois.levels == level
        ours = [
            [image, *box.tolist()]
            for image in range(2)
            for box in rois.boxes[image, place][rois.valid[image, place]]
        ]
        np.testing.assert_array_equal(ours, values[f'rois{k}'])
    close(zoomed[:, :8], values['zoom'], 1e-4)
    # The released score is the sum of the eight logits, or their mean.
    close(fused, values['score'], 1e-3)


def named_weights(state_dict):
    """Weights that depend on nothing but their names and shapes."""
    filled = {}
    for name, value in state_dict.items():
        random = np.random.RandomState(zlib.crc32(name.encode()))
        noise = torch.from_numpy(random.standard_normal(tuple(value.shape)))
        if not value.dim():  # the count of the batches, the calibration
            noise = value
        elif name.endswith('running_var') or (value.dim() == 1 and 'weight' in name):
            noise = 1 + 0.2 * noise.tanh()
        elif value.dim() == 1:
            noise = 0.05 * noise
        else:
            noise = noise * (2 / value[0].numel()) ** 0.5
        # Keep activations near one and the attention unsaturated.
        if name.endswith('bn3.weight') or name.startswith('neck.'):
            noise = 0.3 * noise
        filled[name] = noise.to(value.dtype)
    return filled


def compute():
    """What the two-stage ResNet-50 makes of one image with those weights."""
    model = build_model('apcnn_r50_cub.py').eval()
    model.load_state_dict(named_weights(model.state_dict()))
    random = np.random.RandomState(0)
    coarse = torch.from_numpy(random.standard_normal((1, 3, 12, 9))).float()
    images = torch.nn.functional.interpolate(coarse, (224, 160), mode='bicubic')
    with torch.no_grad():
        raw, refined = model._run_stages(images).pyramids.values()
        (sample,) = model(images, mode='predict')
        return dict(
            raw_logits=model.head.classify(raw).numpy(),
            refined_logits=model.head.classify(refined).numpy(),
            spatial=torch.cat([x.flatten() for x in raw.spatial]).numpy(),
            rois=sample.rois.numpy(),
            merged_box=sample.merged_box.numpy(),
        )


def test_own_golden_values(golden):
    """The same network as when it was compared with the released code."""
    expected = golden('apcnn_r50.npz')
    actual = compute()
    assert set(actual) == set(expected.files)
    for name, value in actual.items():
        tolerance = 0 if name in ('rois', 'merged_box') else 1e-3
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=tolerance)
