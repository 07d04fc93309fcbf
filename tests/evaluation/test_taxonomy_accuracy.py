import pytest
import torch
from mmengine.evaluator import Evaluator
from mmpretrain.structures import DataSample

CLASSES = ('jay', 'magpie', 'wren', 'cuckoo')
TABLE = """\
class,genus,family
jay,Garrulus,Corvidae
magpie,Pica,Corvidae
wren,Troglodytes,Troglodytidae
cuckoo,,Cuculidae
"""


@pytest.fixture
def evaluator(tmp_path):
    (tmp_path / 'taxonomy.csv').write_text(TABLE)
    config = dict(type='TaxonomyAccuracy', data_root=str(tmp_path), taxonomy='taxonomy.csv')
    evaluator = Evaluator(config)
    evaluator.dataset_meta = dict(classes=CLASSES)
    return evaluator


def sample(probs, label):
    label = torch.tensor([] if label is None else [label], dtype=torch.long)
    return DataSample().set_pred_score(torch.tensor(probs)).set_gt_label(label)


def test_ranks_and_rollup(evaluator):
    evaluator.process(
        [
            sample([0.9, 0.1, 0.0, 0.0], 0),  # the class, right
            sample([0.5, 0.4, 0.1, 0.0], 1),  # the family, right
            sample([0.5, 0.4, 0.1, 0.0], 2),  # the family, wrong
            sample([0.4, 0.0, 0.0, 0.6], 3),  # no name is certain
            sample([0.1, 0.1, 0.1, 0.7], None),  # a stranger
        ]
    )
    evaluator.process([sample([1.0, 0.0, 0.0, 0.0], None)])
    metrics = evaluator.evaluate(6)
    assert metrics == {
        'taxonomy/accuracy_class': 50,  # the first and the last
        'taxonomy/accuracy_genus': pytest.approx(100 / 3),  # the cuckoo has none
        'taxonomy/accuracy_family': 75,
        'taxonomy/rollup_answered': 75,
        'taxonomy/rollup_accuracy': pytest.approx(200 / 3),
        'taxonomy/rollup_depth': (3 + 1 + 1 + 0) / 4,
    }


def test_samples_that_pad_a_batch(evaluator):
    """A distributed test has some twice, at the end."""
    evaluator.process([sample([0.1, 0.1, 0.1, 0.7], None), sample([0.9, 0.1, 0, 0], 0)])
    evaluator.process([sample([0.9, 0.1, 0, 0], 1), sample([0.9, 0.1, 0, 0], 0)])
    assert evaluator.evaluate(3)['taxonomy/accuracy_class'] == 50


def test_a_file_that_does_not_fit_is_an_error_before_the_first_batch(tmp_path):
    evaluator = Evaluator(dict(type='TaxonomyAccuracy', taxonomy=f'{tmp_path}/no.csv'))
    with pytest.raises(FileNotFoundError, match='no.csv'):
        evaluator.dataset_meta = dict(classes=CLASSES)
