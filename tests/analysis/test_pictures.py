import numpy as np
import pytest
from PIL import Image

from apcnn_mm.analysis.pictures import draw_evidence, draw_plain
from apcnn_mm.apis import APCNNInferencer


@pytest.fixture(scope='module')
def inferencer(trained):
    config = trained.work_dir / 'apcnn_r18_minibirds.py'
    return APCNNInferencer(config, pretrained=trained.checkpoint)


@pytest.fixture
def path(tmp_path):
    """A red picture, twice as wide as it is high."""
    path = tmp_path / 'red.png'
    Image.new('RGB', (100, 50), (200, 0, 0)).save(path)
    return str(path)


def test_evidence(inferencer, path):
    """The picture with boxes, and the attention of each level at its size."""
    picture = draw_evidence(inferencer)(path)
    assert picture.shape == (160, 4 * 320 + 3 * 4, 3) and picture.dtype == np.uint8
    assert (picture[:, 320:324] == 255).all()
    red = (picture[:, :320] == [200, 0, 0]).all(axis=-1)
    assert 0.5 < red.mean() < 1


def test_scale_of_the_attention(inferencer, path, monkeypatch):
    """From 0, blue, to 1, red, whatever the largest value is."""
    predict = inferencer.model.test_step

    def with_attention(data):
        (sample,) = predict(data)
        low, middle, high = sample.attention
        sample.attention = (low * 0, middle * 0 + 1, high * 0 + 0.5)
        return [sample]

    monkeypatch.setattr(inferencer.model, 'test_step', with_attention)
    tiles = draw_evidence(inferencer)(path)[80, 324 + 160 :: 324].astype(int)
    # Half the picture, and half of (0.49, 1, 0.48), (0.5, 0, 0) and (0, 0, 0.5).
    np.testing.assert_allclose(tiles, [[162, 127, 61], [163, 0, 0], [100, 0, 63]], atol=6)


def test_without_rois(inferencer, path, monkeypatch):
    monkeypatch.setattr(inferencer.model, 'roi_generator', None)
    picture = draw_evidence(inferencer)(path)
    np.testing.assert_array_equal(picture, draw_plain(inferencer)(path))
    assert picture.shape == (160, 320, 3)


@pytest.mark.parametrize('size', [(2000, 20), (20, 2000)])
def test_panoramas(inferencer, tmp_path, size):
    Image.new('RGB', size).save(tmp_path / 'long.png')
    picture = draw_plain(inferencer)(str(tmp_path / 'long.png'))
    assert picture.shape[0] == 160 and 50 < picture.shape[1] <= 480
