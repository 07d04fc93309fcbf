import shutil
import unicodedata
from unittest.mock import patch

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from apcnn_mm.analysis import class_folder_samples, evaluate, join, split_samples
from apcnn_mm.apis import APCNNInferencer


@pytest.fixture(scope='module')
def cfg(trained):
    return Config.fromfile(trained.work_dir / 'apcnn_r18_minibirds.py')


@pytest.fixture(scope='module')
def inferencer(cfg, trained):
    return APCNNInferencer(cfg, pretrained=trained.checkpoint)


@pytest.fixture
def samples(cfg, inferencer):
    return split_samples(cfg.test_dataloader.dataset, inferencer.classes)


def test_answers_are_the_models(inferencer, samples):
    evaluation = evaluate(inferencer, samples)
    assert evaluation.paths == [sample['img_path'] for sample in samples]
    assert evaluation.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert list(evaluation.stages) == ['raw', 'refined']
    for i, (_, prediction) in enumerate(inferencer.stream(evaluation.paths, 16)):
        np.testing.assert_allclose(evaluation.scores[i], prediction.pred_score, rtol=1e-5)
        stages = zip(evaluation.stages.values(), prediction.stage_scores)
        for answers, scores in stages:
            assert answers.labels[i] == scores.argmax()
            assert answers.scores[i] == pytest.approx(float(scores.max()), rel=1e-5)


def test_novelty_and_ranks(inferencer, samples, monkeypatch):
    """Of a checkpoint with a threshold, and of the taxonomy in its config."""
    with monkeypatch.context() as patch:
        patch.setattr(inferencer, 'taxonomy', None)
        evaluation = evaluate(inferencer, samples)
    assert evaluation.accepted is None and evaluation.taxonomy is None
    middle = float(np.sort(evaluation.novelty)[5:7].mean())
    buffers = inferencer.model.head.calibrator._buffers
    monkeypatch.setitem(buffers, 'threshold', torch.tensor(middle))
    monkeypatch.setattr(inferencer, 'has_threshold', True)
    evaluation = evaluate(inferencer, samples)
    assert evaluation.accepted.tolist() == (evaluation.novelty <= middle).tolist()
    assert evaluation.accepted.sum() == 6
    right = evaluation.scores.argmax(axis=1) == evaluation.labels
    assert evaluation.taxonomy['accuracy_class'] == pytest.approx(100 * right.mean())
    assert evaluation.taxonomy['accuracy_family'] >= 100 * right.mean()


def test_one_stage(inferencer, samples, monkeypatch):
    monkeypatch.setattr(inferencer.model, 'test_stage', 'raw')
    evaluation = evaluate(inferencer, samples[:2])
    assert list(evaluation.stages) == ['raw']
    assert evaluation.stages['raw'].labels.tolist() == evaluation.scores.argmax(1).tolist()


def test_cascade(inferencer, samples, monkeypatch):
    """Its refined stage has not seen all pictures."""
    surenesses = np.sort(evaluate(inferencer, samples).stages['raw'].scores)
    monkeypatch.setattr(inferencer.model, 'test_stage', 'cascade')
    monkeypatch.setattr(inferencer.model, 'threshold', float(surenesses[5:7].mean()))
    evaluation = evaluate(inferencer, samples)
    assert list(evaluation.stages) == ['raw'] and len(evaluation.scores) == 12


def test_pictures_that_cannot_be_predicted(inferencer, samples, tmp_path, monkeypatch):
    broken = tmp_path / 'broken.jpg'
    broken.write_text('no picture')
    evaluation = evaluate(inferencer, [dict(img_path=str(broken), gt_label=0), samples[5]])
    assert list(evaluation.unreadable) == [str(broken)]
    assert evaluation.paths == [samples[5]['img_path']] and evaluation.labels == [2]
    weights = inferencer.model.head.level_classifiers[0].fc.weight
    monkeypatch.setattr(weights, 'data', torch.full_like(weights, torch.nan))
    with pytest.raises(ValueError, match=r'None of the 1 pictures .* not finite'):
        evaluate(inferencer, samples[:1])


def test_join(inferencer, samples):
    whole = evaluate(inferencer, samples)
    halves = join([evaluate(inferencer, samples[:5]), evaluate(inferencer, samples[5:])])
    assert halves.paths == whole.paths
    np.testing.assert_array_equal(halves.labels, whole.labels)
    np.testing.assert_allclose(halves.scores, whole.scores, rtol=1e-4, atol=1e-6)


def test_other_classes(cfg, inferencer):
    with pytest.raises(ValueError, match='or another order'):
        split_samples(cfg.test_dataloader.dataset, inferencer.classes[::-1])


def test_class_folders(inferencer, minibirds, tmp_path):
    """Some classes have no folder, and names may be decomposed."""
    classes = [*inferencer.classes[:3], 'Häher']
    for name in (classes[2], classes[0]):
        shutil.copytree(minibirds / 'images' / name, tmp_path / name)
    (tmp_path / unicodedata.normalize('NFD', classes[3])).mkdir()
    shutil.copy(
        next((tmp_path / classes[0]).iterdir()),
        tmp_path / unicodedata.normalize('NFD', classes[3]) / 'a.jpg',
    )
    (tmp_path / '.hidden').mkdir()
    (tmp_path / 'IMG_1.HEIC').touch()
    with patch.object(MMLogger.get_current_instance(), 'warning') as warning:
        found = class_folder_samples(tmp_path, classes)
    assert 'no images by their names' in warning.call_args.args[0]
    assert [sample['gt_label'] for sample in found] == [0] * 5 + [2] * 5 + [3]
    (tmp_path / 'Ostrich').mkdir()
    shutil.copy(found[0]['img_path'], tmp_path / 'Ostrich')
    shutil.copy(found[0]['img_path'], tmp_path / 'loose.jpg')
    with pytest.raises(ValueError, match='has Ostrich, loose.jpg, but the classes'):
        class_folder_samples(tmp_path, classes)


def test_no_class_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match='There is no folder'):
        class_folder_samples(tmp_path / 'absent', ['a', 'b'])
    with pytest.raises(ValueError, match='There are no pictures'):
        class_folder_samples(tmp_path, ['a', 'b'])
    with pytest.raises(ValueError, match='no names of classes'):
        class_folder_samples(tmp_path, None)
