import numpy as np
import pytest
import torch
from mmcv.image import imread

from apcnn_mm.apis import APCNNInferencer


@pytest.fixture(scope='module')
def inferencer(trained):
    config = str(trained.work_dir / 'apcnn_r18_minibirds.py')
    return APCNNInferencer(config, pretrained=str(trained.checkpoint))


def test_paths_arrays_and_mistakes(inferencer, trained):
    path = str(sorted(trained.data_root.glob('images/*/*.jpg'))[0])
    from_path, from_array, absent = inferencer(
        [path, imread(path), '/absent.jpg'], batch_size=2, top_k=3
    )
    assert from_path['image'] == path and from_array['image'] is None
    for key in ('top', 'raw', 'refined', 'rois', 'merged_box'):
        assert from_path[key] == from_array[key]
    assert len(from_path['top']) == 3
    assert set(absent) == {'image', 'error'}


def test_stages_and_their_mean(inferencer, trained):
    path = str(sorted(trained.data_root.glob('images/*/*.jpg'))[0])
    ((image, sample),) = inferencer.stream([path])
    assert image == path
    logits = sample.stage_scores.log()
    np.testing.assert_allclose(
        logits.mean(0).softmax(0).numpy(), sample.pred_score.numpy(), rtol=1e-4
    )
    result = inferencer.describe(image, sample, top_k=6)
    for name, scores in zip(('raw', 'refined'), sample.stage_scores):
        for entry in result[name]:
            assert entry['score'] == pytest.approx(float(scores[entry['label']]))


def test_a_stage_that_did_not_run(inferencer, trained, monkeypatch):
    monkeypatch.setattr(inferencer.model, 'test_stage', 'raw')
    (result,) = inferencer(str(sorted(trained.data_root.glob('images/*/*.jpg'))[0]))
    assert result['refined'] is None
    assert result['raw'] == result['top']


def test_picture_in_original_pixels(inferencer):
    image = np.full((90, 150, 3), 128, np.uint8)
    ((_, sample),) = inferencer.stream([image])
    assert inferencer.draw(image, sample).shape == (90, 150, 3)


def test_keywords_of_the_parent(inferencer, trained, tmp_path):
    path = str(sorted(trained.data_root.glob('images/*/*.jpg'))[0])
    (sample,) = inferencer(path, return_datasamples=True, show_dir=str(tmp_path))
    assert sample.rois.shape[1] == 4
    assert len(list(tmp_path.glob('*.jpg'))) == 1


def test_large_pictures_are_drawn_small(inferencer):
    image = np.full((1500, 3000, 3), 128, np.uint8)
    ((_, sample),) = inferencer.stream([image])
    assert inferencer.draw(image, sample).shape == (500, 1000, 3)


def test_names_of_the_classes(trained, tmp_path):
    """From the checkpoint; not those of all 200 birds for a model of six."""
    config = str(trained.work_dir / 'apcnn_r18_minibirds.py')
    checkpoint = torch.load(trained.checkpoint, weights_only=False)
    names = checkpoint['meta']['dataset_meta']['classes']
    path = str(next(trained.data_root.glob('images/*/*.jpg')))
    (result,) = APCNNInferencer(config, str(trained.checkpoint))(path, top_k=6)
    assert {entry['name'] for entry in result['top']} == set(names)
    torch.save(dict(state_dict=checkpoint['state_dict'], meta={}), tmp_path / 'bare.pth')
    (result,) = APCNNInferencer(config, str(tmp_path / 'bare.pth'))(path)
    assert {entry['name'] for entry in result['top']} == {None}
    given = APCNNInferencer(config, str(tmp_path / 'bare.pth'), classes=list('abcdef'))
    assert given(path)[0]['top'][0]['name'] in 'abcdef'
