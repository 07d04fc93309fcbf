"""What mmpretrain offers works with AP-CNN."""

import numpy as np
import torch
from mmpretrain import FeatureExtractor, ImageClassificationInferencer
from mmpretrain.structures import DataSample


def test_inferencer(trained, tmp_path):
    config = str(trained.work_dir / 'apcnn_r18_minibirds.py')
    inferencer = ImageClassificationInferencer(config, pretrained=str(trained.checkpoint))
    images = sorted(map(str, trained.data_root.glob('images/*/*.jpg')))[:3]
    results = inferencer(images, batch_size=2, show_dir=str(tmp_path / 'shown'))
    assert len(results) == 3
    for result in results:
        assert result['pred_class'] == inferencer.classes[result['pred_label']]
        assert np.isclose(result['pred_scores'].sum(), 1)
    assert len(list((tmp_path / 'shown').glob('*.png'))) == 3
    (sample,) = inferencer(images[0], return_datasamples=True)
    assert sample.rois.shape[1] == 4


def test_feature_extractor(trained):
    config = str(trained.work_dir / 'apcnn_r18_minibirds.py')
    extractor = FeatureExtractor(config, pretrained=str(trained.checkpoint))
    image = str(next(trained.data_root.glob('images/*/*.jpg')))
    (features,) = extractor(image, stage='pre_logits')
    # Two stages, four classifiers, 16 hidden channels.
    assert features.shape == (2 * 4 * 16,)
    (maps,) = extractor(image, stage='backbone')
    assert [x.shape[0] for x in maps] == [16, 32, 64]


def test_loss_with_mixup(tiny_model):
    """mmpretrain's batch augmentations come by the data preprocessor."""
    model = tiny_model(
        train_cfg=dict(augments=dict(type='Mixup', alpha=0.5)),
        data_preprocessor=dict(num_classes=5),
        **{'head.loss': dict(type='CrossEntropyLoss', use_soft=True)},
    )
    samples = [DataSample().set_gt_label(label) for label in (0, 1, 2, 3)]
    batch = dict(inputs=list(torch.rand(4, 3, 64, 64)), data_samples=samples)
    data = model.data_preprocessor(batch, training=True)
    losses = model.train()(**data, mode='loss')
    assert all(torch.isfinite(loss) for loss in losses.values())
