import os
from unittest.mock import Mock
from warnings import catch_warnings, simplefilter

import numpy as np
import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from mmengine.visualization import LocalVisBackend, MLflowVisBackend
from mmpretrain.registry import VISUALIZERS
from mmpretrain.structures import DataSample

from apcnn_mm.visualization import ROIVisualizer, names


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


def test_a_box_that_reaches_the_edge(visualizer):
    """Or past it: no warnings."""
    data = sample(rois=torch.tensor([[-5.0, 0, 160, 128]] * 3))
    with catch_warnings():
        simplefilter('error')
        visualizer.draw_rois(np.zeros((128, 160, 3), np.uint8), data)


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


def test_maps_on_one_scale(visualizer):
    """The same attention has the same colour in every map, and parts are dots."""
    grey = np.full((128, 160, 3), 128, np.uint8)

    def panels(levels, **options):
        figure = visualizer.draw_figure([grey], [sample(**options)], [levels])
        return figure.astype(int)

    flat = [torch.full((4, 5), value) for value in (0.2, 0.2, 0.9)]
    figure = panels(flat)
    h, w = figure.shape[:2]
    # From the second to the fourth of the four columns: levels 2, 1 and 0.
    high, middle, low = (figure[h // 2 - 20, int(w * x)] for x in (0.37, 0.58, 0.8))
    assert np.abs(middle - low).max() <= 1 and np.abs(high - low).max() > 60
    inside, outside = [[80.0, 64.0]], [[900.0, 64.0]]
    assert (panels(flat, object_parts=inside) != figure).any()
    np.testing.assert_array_equal(panels(flat, object_parts=outside), figure)


@pytest.mark.parametrize('name', ['$x$', 'Costs $5 or \\$6', '$\\frac{$', 'a\udcffb'])
def test_names_are_text(visualizer, name):
    """Pairs of $ are no formula, and bytes that are no text no error."""
    image = np.zeros((128, 160, 3), np.uint8)
    visualizer.visualize_cls(image, sample(), classes=[name, name])
    visualizer.dataset_meta = dict(classes=[name, name])
    attention = [torch.rand(4, 5) for _ in range(3)]
    visualizer.draw_figure([image], [sample()], [attention], title=name)
    with pytest.MonkeyPatch.context() as patch:
        shown = []
        patch.setattr(visualizer.ax_save, 'text', lambda x, y, s, **_: shown.append(s))
        visualizer.visualize_cls(image, sample())
    assert name.replace('\udcff', '?') in shown[0]


def test_dollars_are_drawn(visualizer):
    """As wide as the text, not as the formula."""

    def width(name):
        image = np.zeros((128, 600, 3), np.uint8)
        picture = visualizer.visualize_cls(
            image, DataSample().set_pred_label(0), classes=[name]
        )
        return (picture > 128).any((0, 2)).nonzero()[0].max()

    assert width('$xxxx$') == pytest.approx(width('SxxxxS'), abs=3)
    visualizer.set_image(np.zeros((128, 160, 3), np.uint8))
    visualizer.draw_texts('$a$$', np.array([[5, 20]]), colors='w')


@pytest.fixture
def no_cache():
    names._other_families.cache_clear()
    names._warn_of.cache_clear()
    yield
    names._other_families.cache_clear()
    names._warn_of.cache_clear()


def make_font(path, characters):
    """A font in which these characters are squares."""
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(['.notdef', 'square'])
    builder.setupCharacterMap({ord(c): 'square' for c in characters})
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 900), (900, 900), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    builder.setupGlyf({'.notdef': square, 'square': square})
    builder.setupHorizontalMetrics({'.notdef': (1000, 0), 'square': (1000, 0)})
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable(dict(familyName='Squares', styleName='Regular'))
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return str(path)


@pytest.mark.parametrize(
    'name', ['A_long_name_of_a_bird' * 4, 'A long name of a dog ' * 4, '翠鳥' * 40]
)
def test_long_names_are_not_cut_off(visualizer, name, no_cache, tmp_path, monkeypatch):
    """Nothing is drawn at the figure's edges, and the name does not reach its neighbour."""
    font = make_font(tmp_path / 'squares.ttf', '翠鳥')
    monkeypatch.setattr(names, 'findSystemFonts', lambda: [font])
    visualizer.dataset_meta = dict(classes=[name, name])
    image = np.zeros((128, 160, 3), np.uint8)
    attention = [torch.rand(4, 5) for _ in range(3)]
    figure = visualizer.draw_figure([image], [sample()], [attention], title=name * 2)
    assert (figure[:, [0, 1, -2, -1]] == 255).all()
    assert (figure[[0, 1]] == 255).all()


def test_fonts_for_other_scripts(visualizer, no_cache, tmp_path, monkeypatch):
    """From a font that has them, else with one warning."""
    name = '翠鳥 kingfisher'
    own = [font for font in names.fontManager.ttflist if font.name.startswith('DejaVu')]
    monkeypatch.setattr(names.fontManager, 'ttflist', own)
    monkeypatch.setattr(names, 'findSystemFonts', lambda: [])
    image = np.zeros((128, 160, 3), np.uint8)
    warnings = []
    monkeypatch.setattr(
        names.MMLogger, 'get_current_instance', lambda: Mock(warning=warnings.append)
    )
    visualizer.dataset_meta = dict(classes=['wren', name])
    with catch_warnings():
        simplefilter('error')
        for _ in range(3):
            visualizer.visualize_cls(image, sample())
            visualizer.draw_figure([image], [sample()], [[torch.rand(4, 5)] * 3])
    assert len(warnings) == 1 and '翠鳥' in warnings[0]

    font = make_font(tmp_path / 'squares.ttf', '翠鳥')
    monkeypatch.setattr(names, 'findSystemFonts', lambda: [font])
    names._other_families.cache_clear()
    assert names.text_style([name])['family'] == ['sans-serif', 'Squares']
    assert names.text_style(['wren'])['family'] == ['sans-serif']
    picture = visualizer.visualize_cls(image, sample(), classes=['wren', name])
    assert picture.any()
    assert len(warnings) == 1


class Service(LocalVisBackend):
    def add_image(self, name, image, step=0):
        raise ConnectionError('no route')


class Files(MLflowVisBackend):
    """Like MLflow, which needs the name of a file."""

    names = []

    def add_image(self, name, image, step=0):
        if not os.path.splitext(name)[1]:
            raise ValueError(f'unknown file extension: {name}')
        self.names.append(name)


def test_backends_that_take_no_picture(tmp_path):
    backends = [Service(str(tmp_path / 'a')), Files(str(tmp_path / 'b'))]
    backends.append(LocalVisBackend(str(tmp_path / 'c')))
    visualizer = ROIVisualizer(name='backends', vis_backends=backends)
    visualizer.add_image('rois', np.zeros((8, 8, 3), np.uint8), step=3)
    assert Files.names == ['rois_3.png']
    assert [path.name for path in tmp_path.glob('c/**/*.png')] == ['rois_3.png']
