import numpy as np
import pytest
import torch
from mmpretrain.registry import VISUALIZERS
from mmpretrain.structures import DataSample


@pytest.fixture
def visualizer():
    return VISUALIZERS.build(dict(type='ROIVisualizer', name='test'))


def sample(**options):
    data = DataSample(metainfo=dict(ori_shape=(128, 160), img_shape=(128, 160)))
    data.set_pred_label(1).set_pred_score(torch.tensor([0.2, 0.8]))
    data.rois = torch.tensor([[10.0, 10, 30, 30], [20.0, 40, 60, 80], [70.0, 10, 120, 60]])
    data.roi_levels = torch.tensor([0, 1, 2])
    data.merged_box = torch.tensor([10.0, 10, 120, 80])
    for name, value in options.items():
        data.set_field(value, name)
    return data


def test_colours_of_figure_5(visualizer):
    """Red, blue and green from the high to the low level."""
    picture = visualizer.draw_rois(np.zeros((128, 160, 3), np.uint8), sample())
    assert picture.shape == (128, 160, 3)
    for (x, y), colour in (
        ((30, 20), [0, 255, 0]),
        ((20, 60), [0, 0, 255]),
        ((70, 35), [255, 0, 0]),
    ):
        around = picture[y, x - 1 : x + 2].astype(int)
        assert np.abs(around - colour).sum(axis=1).min() < 120


def test_no_rois(visualizer):
    image = np.zeros((128, 160, 3), np.uint8)
    empty = sample(rois=torch.zeros(0, 4), roi_levels=torch.zeros(0, dtype=torch.long))
    assert visualizer.draw_rois(image, empty).any()  # the merged box is there
    plain = DataSample().set_pred_label(1)
    visualizer.visualize_cls(image, plain, out_file=None)


def test_draws_into_the_picture_of_mmpretrain(visualizer, tmp_path):
    image = np.zeros((128, 160, 3), np.uint8)
    path = tmp_path / 'picture.png'
    visualizer.visualize_cls(image, sample(), classes=['a', 'b'], out_file=str(path))
    assert path.stat().st_size > 0
    assert image.max() == 0


def test_colours_do_not_depend_on_what_was_found(visualizer):
    lowest = sample(
        rois=torch.tensor([[10.0, 10, 30, 30]]), roi_levels=torch.zeros(1, dtype=torch.long)
    )
    picture = visualizer.draw_rois(np.zeros((128, 160, 3), np.uint8), lowest)
    around = picture[20, 29:32].astype(int)
    assert np.abs(around - [0, 255, 0]).sum(axis=1).min() < 120


@pytest.mark.parametrize('size', [(128, 160), (256, 320), (64, 80)])
def test_boxes_on_the_original_image(visualizer, size):
    """Also where it has the size of the network's input, and at any other size."""
    # An original of 128 x 160, enlarged twofold, of which the middle was cut out.
    data = sample(
        rois=torch.tensor([[0.0, 0, 64, 64]]), roi_levels=torch.zeros(1, dtype=torch.long)
    )
    data.set_metainfo(dict(scale_factor=(2.0, 2.0)))
    picture = visualizer.draw_rois(np.zeros((*size, 3), np.uint8), data, original=True)
    green = (picture[..., 1] > 128) & (picture[..., 0] < 100)
    ys, xs = green.nonzero()
    scale = size[0] / 128
    found = np.array([xs.min(), ys.min(), xs.max(), ys.max()]) / scale
    np.testing.assert_allclose(found, [40, 32, 72, 64], atol=2.5)
