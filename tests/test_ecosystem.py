"""What mmpretrain offers works with AP-CNN."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain import FeatureExtractor, ImageClassificationInferencer
from mmpretrain.apis import ImageRetrievalInferencer
from mmpretrain.registry import DATASETS
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
    (maps,) = extractor(image, stage='neck')
    # Two stages of 32 channels.
    assert [tuple(x.shape) for x in maps] == [(64, 16, 16), (64, 8, 8), (64, 4, 4)]


def test_loss_with_mixup(tiny_model):
    """mmpretrain's batch augmentations come by the data preprocessor."""
    model = tiny_model(
        train_cfg=dict(augments=dict(type='Mixup', alpha=0.5)),
        **{'head.loss': dict(type='CrossEntropyLoss', use_soft=True)},
    )
    samples = [DataSample().set_gt_label(label) for label in (0, 1, 2, 3)]
    batch = dict(inputs=list(torch.rand(4, 3, 64, 64)), data_samples=samples)
    data = model.data_preprocessor(batch, training=True)
    losses = model.train()(**data, mode='loss')
    assert all(torch.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize('kind', ['dataset', 'config', 'paths'])
def test_image_retrieval(trained, kind):
    """Each image is found again: there are as many prototypes as images."""
    cfg = Config.fromfile(trained.work_dir / 'apcnn_r18_minibirds.py')
    cfg.model = dict(type='ImageToImageRetriever', image_encoder=cfg.model, prototype='')
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    prototype = dict(dataset=dataset, config=cfg.test_dataloader.dataset, paths=paths)[kind]
    torch.manual_seed(0)
    inferencer = ImageRetrievalInferencer(cfg, prototype=prototype, pretrained=False)
    vectors = inferencer.model.prototype_vecs
    assert len(vectors) == len(torch.unique(vectors, dim=0)) == 12
    for i, (match, *_) in enumerate(inferencer(paths, batch_size=5)):
        assert match['sample_idx'] == i and match['sample']['img_path'] == paths[i]
        assert float(match['match_score']) == pytest.approx(1, abs=1e-4)
