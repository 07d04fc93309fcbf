"""The backbone alone, which AP-CNN is compared with."""

import pytest
import torch
from helpers import REPO, build_model
from mmpretrain.structures import DataSample


@pytest.mark.parametrize(
    'base', ['r18_minibirds', 'vgg19_cub', 'convnext_cub', 'mobilenetv2_cub_224']
)
def test_each_parameter_learns(base, monkeypatch):
    """One without a gradient would stop a distributed training."""
    monkeypatch.setenv('ABLATION_BASE', str(REPO / f'configs/apcnn_{base}.py'))
    model = build_model('ablation/plain.py').train()
    samples = [DataSample().set_gt_label(label) for label in (0, 1)]
    losses = model(torch.randn(2, 3, 64, 64), samples, mode='loss')
    losses['loss'].backward()
    frozen = [name for name, p in model.named_parameters() if p.grad is None]
    assert frozen == []
