import numpy as np
import pytest

from apcnn_mm.taxonomy import read_taxonomy

CLASSES = ['jay', 'magpie', 'wren', 'cuckoo']
TABLE = """\
class,genus,family,order
wren,Troglodytes,Troglodytidae,Passeriformes
jay,Garrulus,Corvidae,Passeriformes
cuckoo,,Cuculidae,Cuculiformes
magpie,Pica,Corvidae,Passeriformes
"""


@pytest.fixture
def read(tmp_path):
    def read_text(text, classes=CLASSES, encoding='utf-8'):
        (tmp_path / 'taxonomy.csv').write_text(text, encoding=encoding)
        return read_taxonomy(tmp_path / 'taxonomy.csv', classes)

    return read_text


def random_probs(n):
    return np.random.default_rng(0).dirichlet(np.full(4, 0.5), size=n)


def test_probabilities_add_up(read):
    taxonomy = read(TABLE)
    probs = random_probs(6)
    scores = taxonomy.scores(probs)
    assert list(scores) == ['class', 'genus', 'family', 'order']
    np.testing.assert_allclose(scores['class'], probs)
    for rank in ('family', 'order'):
        np.testing.assert_allclose(scores[rank].sum(1), 1)
    # The cuckoo has no genus.
    np.testing.assert_allclose(scores['genus'].sum(1), 1 - probs[:, 3])
    family = taxonomy.names['family'].index('Corvidae')
    np.testing.assert_allclose(scores['family'][:, family], probs[:, :2].sum(1))


def test_no_name_is_less_probable_than_those_below(read):
    taxonomy = read(TABLE)
    scores = taxonomy.scores(random_probs(6))
    for lower, upper in (('class', 'family'), ('genus', 'family'), ('family', 'order')):
        for label in range(4):
            below, above = (taxonomy.labels(rank)[label] for rank in (lower, upper))
            if below >= 0:
                assert (scores[upper][:, above] >= scores[lower][:, below] - 1e-6).all()


@pytest.mark.parametrize(
    'probs, answer',
    [
        ([0.85, 0.05, 0.05, 0.05], ('class', 'jay', 0.85)),
        ([0.45, 0.40, 0.10, 0.05], ('family', 'Corvidae', 0.85)),
        ([0.30, 0.30, 0.35, 0.05], ('order', 'Passeriformes', 0.95)),
        ([0.10, 0.05, 0.05, 0.80], ('class', 'cuckoo', 0.8)),
        ([0.20, 0.20, 0.20, 0.40], None),
    ],
)
def test_rollup(read, probs, answer):
    (rollup,) = read(TABLE).rollup(np.array([probs]))
    if answer is None:
        assert rollup is None
    else:
        assert (rollup['rank'], rollup['name']) == answer[:2]
        assert rollup['score'] == pytest.approx(answer[2])


def test_more_confidence_is_never_deeper(read):
    taxonomy = read(TABLE)
    probs = random_probs(50)
    depths = []
    for confidence in (0.5, 0.8, 0.95, 1.0):
        rollups = taxonomy.rollup(probs, confidence)
        ranks = [rollup and taxonomy.ranks.index(rollup['rank']) for rollup in rollups]
        depths.append(np.array([9 if rank is None else rank for rank in ranks]))
        assert all(r is None or r['score'] >= confidence - 1e-6 for r in rollups)
    for surer, less_sure in zip(depths[1:], depths):
        assert (surer >= less_sure).all()
    assert depths[0].mean() < depths[-1].mean()


@pytest.mark.parametrize('delimiter', [';', '\t'])
def test_tables_of_spreadsheets(read, delimiter):
    text = TABLE.replace(',', delimiter).replace('\n', '\r\n') + delimiter * 3 + '\r\n'
    taxonomy = read(text, encoding='utf-8-sig')
    assert taxonomy.names == read(TABLE).names
    quoted = read('class,group\njay,"crows, jays"\nwren,small\n', ['jay', 'wren'])
    assert quoted.names['group'] == ['crows, jays', 'small']


def test_composed_and_decomposed_accents(read):
    taxonomy = read('class,genus\nMo\u0308we,Larus\njay,Garrulus\n', ['M\u00f6we', 'jay'])
    assert taxonomy.labels('genus').tolist() == [1, 0]


def test_one_name_at_two_ranks(read):
    """As of genus and subgenus; they are two things."""
    text = 'class,subgenus,genus\nhortorum,Megabombus,Bombus\nterrestris,Bombus,Bombus\n'
    taxonomy = read(text, ['terrestris', 'hortorum'])
    assert taxonomy.names['genus'] == ['Bombus']
    assert taxonomy.names['subgenus'] == ['Bombus', 'Megabombus']


@pytest.mark.parametrize(
    'text, message',
    [
        ('', 'is empty'),
        ('class,genus\njay,\nwren,\n', 'no line has a name in the column genus'),
        ('class\njay\n', 'names of the ranks, two or more'),
        ('class,genus,genus\n', 'all different'),
        ('class,,family\n', 'names of the ranks'),
        (TABLE + 'owl,Strix\n', r'line 6: .* must have 4 cells'),
        (TABLE + ',Strix,Strigidae,Strigiformes\n', 'line 6: .* has no class'),
        (
            TABLE + 'jay,Garrulus,Corvidae,Passeriformes\n',
            "line 6: .* row of 'jay' already",
        ),
        (TABLE + 'owl,,,\n', "Rows without a class: 'owl'"),
        (TABLE.replace('magpie', 'owl'), "Classes without a row: 'magpie'"),
        (
            TABLE.replace('Pica,Corvidae', 'Garrulus,Cuculidae'),
            'genus Garrulus stands under',
        ),
        (
            TABLE.replace('Pica,Corvidae,Pass', 'Pica,Corvidae,Cuc'),
            'family Corvidae stands',
        ),
        # A missing rank is another place.
        (TABLE.replace('Pica,Corvidae', 'Garrulus,'), 'Corvidae and under the order'),
        (TABLE.replace('Corvidae,Passeriformes\nc', 'Corvidae,\nc'), 'under nothing'),
    ],
)
def test_mistakes(read, tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as error:
        read(text)
    assert str(tmp_path / 'taxonomy.csv') in str(error.value)


def test_files_that_are_none(read, tmp_path):
    with pytest.raises(FileNotFoundError, match=f'no file {tmp_path}/no.csv'):
        read_taxonomy(tmp_path / 'no.csv', CLASSES)
    with pytest.raises(ValueError, match='not a text file in UTF-8'):
        read(TABLE.replace('jay', 'j\u00e4y'), encoding='latin-1')


@pytest.mark.parametrize('confidence', [0, 1.1, 'high', None])
def test_confidence_is_a_probability(read, confidence):
    with pytest.raises(ValueError, match='confidence must'):
        read(TABLE).rollup(np.ones((1, 4)) / 4, confidence)
