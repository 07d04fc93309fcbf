import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample


@pytest.fixture
def tta_model(tiny_model):
    return MODELS.build(dict(type='APCNNTTAModel', module=tiny_model()))


def view(scores, flip, **fields):
    info = dict(ori_shape=(50, 80), img_shape=(50, 80), flip=flip)
    sample = DataSample(metainfo=dict(info, flip_direction='horizontal' if flip else None))
    sample.set_pred_score(torch.tensor(scores))
    sample.set_pred_label(int(sample.pred_score.argmax()))
    for name, value in fields.items():
        sample.set_field(value, name)
    return sample


def test_what_is_told_is_what_was_decided(tta_model):
    """The label, the stages and the boxes of both views, in pixels of the first one."""
    first = view(
        [0.6, 0.4],
        False,
        stage_scores=torch.tensor([[0.5, 0.5], [0.7, 0.3]]),
        rois=torch.tensor([[10.0, 5, 20, 25]]),
        roi_levels=torch.tensor([1]),
        roi_scores=torch.tensor([0.9]),
        merged_box=torch.tensor([10.0, 5, 20, 25]),
        attention=(torch.rand(4, 4),),
    )
    second = view(
        [0.1, 0.9],
        True,
        stage_scores=torch.tensor([[0.2, 0.8], [0.0, 1.0]]),
        rois=torch.tensor([[50.0, 0, 70, 10], [60.0, 0, 65, 10]]),
        roi_levels=torch.tensor([0, 2]),
        roi_scores=torch.tensor([0.8, 0.7]),
        merged_box=torch.tensor([50.0, 0, 70, 10]),
        attention=(torch.rand(4, 4),),
    )
    (merged,) = tta_model.merge_preds([[first, second]])
    torch.testing.assert_close(merged.pred_score, torch.tensor([0.35, 0.65]))
    assert merged.pred_label.tolist() == [1]
    expected = torch.tensor([[0.35, 0.65], [0.35, 0.65]])
    torch.testing.assert_close(merged.stage_scores, expected)
    boxes = [[10.0, 5, 20, 25], [10.0, 0, 30, 10], [15.0, 0, 20, 10]]
    assert merged.rois.tolist() == boxes
    assert merged.roi_levels.tolist() == [1, 0, 2]
    assert merged.roi_scores.tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert merged.merged_box.tolist() == [10, 0, 30, 25]
    assert 'attention' not in merged
    assert first.pred_label.tolist() == [0]  # the views stay as they are


def test_views_of_a_cascade(tta_model):
    """The refined stage's scores are those of the views that it saw."""
    sure = view([0.9, 0.1], False, stage_scores=torch.tensor([[0.9, 0.1]]))
    unsure = view([0.4, 0.6], True, stage_scores=torch.tensor([[0.5, 0.5], [0.3, 0.7]]))
    (merged,) = tta_model.merge_preds([[sure, unsure]])
    expected = torch.tensor([[0.7, 0.3], [0.3, 0.7]])
    torch.testing.assert_close(merged.stage_scores, expected)


def test_other_classifiers(tta_model):
    (merged,) = tta_model.merge_preds([[view([0.6, 0.4], False), view([0.1, 0.9], True)]])
    assert merged.pred_label.tolist() == [1] and 'rois' not in merged


def test_a_view_and_its_mirror_image(tta_model):
    """The merged box is the smallest one around all ROIs, inside the image."""
    tta_model.eval()
    images = torch.randint(256, (3, 64, 96), dtype=torch.uint8)
    samples = [
        DataSample(
            metainfo=dict(
                ori_shape=(64, 96),
                img_shape=(64, 96),
                flip=flip,
                flip_direction='horizontal',
            )
        )
        for flip in (False, True)
    ]
    views = dict(
        inputs=[[images], [images.flip(2)]], data_samples=[[samples[0]], [samples[1]]]
    )
    with torch.no_grad():
        (merged,) = tta_model.test_step(views)
    label = merged.pred_score.argmax()
    assert merged.pred_label.tolist() == [label]
    boxes = merged.rois
    assert (boxes >= 0).all() and (boxes[:, 2] <= 96).all() and (boxes[:, 3] <= 64).all()
    hull = torch.cat([boxes[:, :2].amin(0), boxes[:, 2:].amax(0)])
    torch.testing.assert_close(merged.merged_box, hull)
