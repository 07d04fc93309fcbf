import re
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
from browser import in_browser

from apcnn_mm.analysis import Answers, Evaluation, write_labels, write_report
from apcnn_mm.analysis.labels import NearPair, Suspect
from apcnn_mm.analysis.page import SplitPicture

CURVES = {'loss': (np.arange(3), np.array([3.0, 2.0, 1.0]))}
# Half of the first class is taken for the last; the third class has no pictures.
NAMES = ['jay', '<b>&"wren\'</b>', 'auk', '</script>']


def draw(path):
    return np.full((160, 200, 3), len(path), np.uint8)


def evaluation_of(labels, answers, names, **fields):
    """Who answers like this, the surer, the later the picture."""
    labels, answers = np.array(labels), np.array(answers)
    sureness = np.linspace(0.55, 0.95, len(labels))[:, None]
    others = (1 - sureness) / (len(names) - 1)
    scores = np.where(np.arange(len(names)) == answers[:, None], sureness, others)
    stages = {'raw': Answers.best(scores), 'refined': Answers.best(np.roll(scores, 1, 1))}
    paths = [f'/pictures/{i}.jpg' for i in range(len(labels))]
    evaluation = Evaluation(names, paths, labels, scores, stages, {}, {})
    return evaluation._replace(**fields)


@pytest.fixture(scope='module')
def evaluation():
    return evaluation_of(
        [0, 0, 0, 0, 1, 1, 3, 3, 3],
        [0, 3, 0, 3, 1, 1, 3, 3, 0],
        NAMES,
        localization={'mIoU': 43.21, 'auc_level0': 0.4321},
        unreadable={'/a\udcff.jpg': 'no <i>picture</i>'},
        novelty=np.linspace(0, 0.8, 9),
        accepted=np.arange(9) < 8,
        taxonomy={'accuracy_class': 66.66, 'rollup_depth': 1.25},
    )


@pytest.fixture(scope='module')
def page(evaluation, tmp_path_factory):
    folder = tmp_path_factory.mktemp('report')
    write_report(folder, evaluation, draw, CURVES, {'Config': '<config>\udcff'})
    return folder / 'index.html'


@pytest.fixture(scope='module')
def labels_page(evaluation, tmp_path_factory):
    folder = tmp_path_factory.mktemp('labels')
    splits = [SplitPicture(f'/{i}.jpg', ('train', 'test')[i % 2], 'jay') for i in range(4)]
    write_report(folder, evaluation, draw, {}, {}, has_labels=True)
    write_labels(
        folder,
        evaluation,
        [Suspect(1, 3), Suspect(8, 0)],
        None,
        splits,
        [NearPair(5, 0, 1), NearPair(7, 2, 1)],
        12,
        draw,
        ['val: <b>there</b> is no folder'],
    )
    return folder / 'labels.html'


class Page(HTMLParser):
    """The elements of a page, its texts, and whether all are closed."""

    EMPTY = {'meta', 'link', 'img', 'br', 'input', 'hr'}

    def __init__(self, path):
        super().__init__()
        self.elements, self.open, self.text = [], [], []
        self.feed(path.read_text(encoding='utf-8'))
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and self.open[-1] not in ('style', 'script'):
            self.text.append(' '.join(data.split()))

    def values(self, name):
        return [attrs[name] for _, attrs in self.elements if name in attrs]

    @property
    def ids(self):
        return self.values('id')


def check_page(path):
    """That it is whole: links lead somewhere, and nothing comes from elsewhere."""
    page = Page(path)
    assert len(page.ids) == len(set(page.ids))
    for link in page.values('href') + page.values('src'):
        name, _, anchor = link.partition('#')
        if name.startswith('data:'):
            continue
        assert not re.match(r'[a-z]+:|/', name), link
        target = path.parent / unquote(name) if name else path
        assert target.is_file(), link
        if anchor:
            assert anchor in (page if target == path else Page(target)).ids, link
    for tag, attrs in page.elements:
        assert tag != 'img' or attrs['alt']
        assert not [name for name in attrs if name.startswith('on')]
    assert not re.search('url\\(|@import|fetch\\(', path.read_text(encoding='utf-8'))
    return page


def test_whole(page):
    check_page(page)


def test_labels_whole(labels_page):
    page = check_page(labels_page)
    text = ' '.join(page.text)
    assert 'The model has been trained on these very labels' in text
    assert '12 pairs were found, of which the nearest 2 are shown' in text
    assert 'val: <b>there</b> is no folder' in text
    assert '</script>' in page.text and '/pictures/8.jpg' in page.text
    check_page(labels_page.with_name('index.html'))


def test_what_it_says(page):
    text = ' '.join(Page(page).text)
    assert '66.7 % 6 of 9 pictures; 95 % interval 35.4 % to 87.9 %' in text
    # Recalls 1/2, 1 and 2/3.
    assert 'balanced accuracy 72.2 %' in text
    assert 'jay : 2 of 4 taken for </script>' in text
    assert 'mIoU 43.2 auc_level0 0.432' in text
    assert 'accepted 8 88.9 % 75.0 % 0.35' in text
    assert 'not accepted 1 11.1 % 0.0 % 0.8' in text
    assert 'accuracy class 66.7 % rollup depth 1.25' in text
    assert '/a?.jpg: no <i>picture</i>' in text and '<config>?' in text
    rows = re.findall('<tr id="class-(\\d)">', page.read_text())
    assert rows == ['0', '3', '1', '2']  # most trouble first, no pictures last


def test_names_are_text(page):
    """And no markup."""
    elements = [tag for tag, _ in Page(page).elements]
    assert elements.count('i') == 3  # of the text on localisation
    assert NAMES[1] in Page(page).text and NAMES[3] in Page(page).text


def test_examples_are_those_that_are_mistaken(page):
    """The surest first; then those that are not mistaken."""
    html = page.read_text()
    sides = html[html.index('id="pair-1"') : html.index('id="stages"')].split('<b>')[1:]
    shown = [re.findall('alt="/pictures/(.).jpg"', side) for side in sides]
    assert shown == [['3', '1', '2'], ['8', '7', '6']]


@pytest.mark.parametrize('labels', [[0], [0, 1]])
def test_nothing_to_show(labels, tmp_path):
    """One picture, no mistake, one stage, no boxes and no log."""
    names = ['a', 'b', 'c']
    evaluation = evaluation_of(labels, labels, names)
    evaluation = evaluation._replace(stages={'raw': evaluation.stages['raw']})
    write_report(tmp_path, evaluation, draw, {}, {})
    page = check_page(tmp_path / 'index.html')
    assert not {'pairs', 'stages', 'localization', 'unreadable'} & set(page.ids)
    text = ' '.join(page.text)
    assert 'There is no log' in text and 'has no threshold for strangers' in text
    assert not {'acceptance', 'taxonomy'} & set(page.ids)


def test_in_the_browser(page, tmp_path):
    """It opens without an error; sorting, links, the matrix and the pictures work."""
    result = in_browser(
        page,
        """
        const column = i => [...document.querySelectorAll('#class-table tbody tr')]
          .map(row => row.cells[i].textContent);
        const head = i => document.querySelectorAll('#class-table th button')[i].click();
        const found = {};
        head(0); found.names = column(0);
        head(0); found.reversed = column(0);
        head(3); found.recall = column(3);
        head(3); found.falling = column(3);
        head(1); found.numbers = column(1);
        document.querySelector('nav a[href="#pairs"]').click();
        found.hash = location.hash;
        document.querySelector('#pairs ~ h3 a').click();
        found.target = document.querySelector(':target').id;
        const images = [...document.images];
        for (const image of images) image.loading = 'eager';
        await Promise.all(images.map(image => image.decode()));
        found.images = images.length;
        const canvas = document.querySelector('#matrix canvas');
        const box = canvas.getBoundingClientRect();
        const point = (row, column) => canvas.dispatchEvent(new MouseEvent('mousemove', {
          bubbles: true, clientX: box.left + 190 + 28 * column + 5,
          clientY: box.top + 190 + 28 * row + 5}));
        point(0, 3); found.mistaken = document.getElementById('cell').textContent;
        point(1, 1); found.right = document.getElementById('cell').textContent;
        const {width, height} = canvas, {data} = canvas.getContext('2d')
          .getImageData(0, 0, width, height);
        const colour = (row, column) => {
          const start = 4 * (width * (190 + 28 * row + 4) + 190 + 28 * column + 4);
          return [...data.slice(start, start + 4)];
        };
        found.colours = [colour(1, 1), colour(0, 3), colour(2, 2)];
        return found;
        """,
        tmp_path / 'browser',
    )
    assert result['names'] == ['</script>', NAMES[1], 'auk', 'jay']
    assert result['reversed'] == result['names'][::-1]
    assert result['recall'] == ['50.0 %', '66.7 %', '100.0 %', '–']
    assert result['falling'] == ['100.0 %', '66.7 %', '50.0 %', '–']
    assert result['numbers'] == ['0', '2', '3', '4']
    assert result['hash'] == '#pairs' and result['target'] == 'class-0'
    assert result['images'] > 8
    assert result['mistaken'] == 'jay: 2 of 4 taken for </script>'
    assert result['right'] == f'{NAMES[1]}: 2 of 2 recognised'
    blue, orange, empty = result['colours']
    assert blue[2] > blue[0] and orange[0] > orange[2] and empty[3] == 0


def test_labels_in_the_browser(labels_page, tmp_path):
    result = in_browser(
        labels_page,
        """
        document.querySelectorAll('#suspect-table th button')[1].click();
        return [...document.querySelectorAll('#suspect-table tbody tr')]
          .map(row => row.cells[2].dataset.value);
        """,
        tmp_path / 'browser',
    )
    assert [float(value) for value in result] == sorted(map(float, result))


@pytest.fixture(scope='module')
def large(tmp_path_factory):
    """A thousand classes and ten thousand pictures."""
    folder = tmp_path_factory.mktemp('large')
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 1000, 10000)
    answers = np.where(rng.random(10000) < 0.6, labels, rng.integers(0, 1000, 10000))
    names = [f'{i:03d}.A_bird_with_a_long_name' for i in range(1000)]
    write_report(folder, evaluation_of(labels, answers, names), draw, CURVES, {})
    return folder


def test_large(large):
    """The page stays small, and so does the number of pictures."""
    assert (large / 'index.html').stat().st_size < 1e6
    assert len(list((large / 'pictures').iterdir())) <= 20 * 2 * 3 + 12 + 3


def test_large_in_the_browser(large, tmp_path):
    result = in_browser(
        large / 'index.html',
        """
        const matrix = document.getElementById('matrix');
        const canvas = matrix.querySelector('canvas');
        matrix.scrollTo(matrix.scrollWidth, matrix.scrollHeight);
        matrix.dispatchEvent(new Event('scroll'));  // without waiting for a frame
        const [red, , blue] = canvas.getContext('2d')
          .getImageData(canvas.width - 24, canvas.height - 24, 1, 1).data;
        const box = canvas.getBoundingClientRect();
        canvas.dispatchEvent(new MouseEvent('mousemove', {
          bubbles: true, clientX: box.right - 5, clientY: box.bottom - 5}));
        return [canvas.width, canvas.height, matrix.scrollWidth, blue - red,
                document.getElementById('cell').textContent];
        """,
        tmp_path / 'browser',
    )
    width, height, scrolled, blueness, text = result
    assert width < 1500 and height < 900 and scrolled == 190 + 28 * 1000
    assert blueness > 50
    assert re.fullmatch(r'999\.A_bird_with_a_long_name: \d+ of \d+ recognised', text)
