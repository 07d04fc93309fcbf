"""What the configs of the paper's experiments say, as it is carried out."""

import numpy as np
import pytest
import torch
from helpers import REPO, build_model
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import DATASETS
from PIL import Image


def load(leaf):
    return Config.fromfile(REPO / 'configs' / leaf)


def groups(leaf):
    """The learning rate, momentum and weight decay of each parameter."""
    model = build_model(leaf)
    optimizer = build_optim_wrapper(model, load(leaf).optim_wrapper).optimizer
    assert type(optimizer) is torch.optim.SGD
    settings = {
        id(parameter): (
            group['lr'],
            group['momentum'],
            group['weight_decay'],
            group['nesterov'],
        )
        for group in optimizer.param_groups
        for parameter in group['params']
    }
    return {name: settings[id(p)] for name, p in model.named_parameters()}


def test_optimizer_on_birds():
    """The released code: conv1 to conv4 learn with a tenth."""
    for name, settings in groups('apcnn_r50_cub.py').items():
        slow = name.startswith('backbone.') and not name.startswith('backbone.layer4.')
        assert settings == (pytest.approx(1e-4 if slow else 1e-3), 0.9, 5e-4, False), name


@pytest.mark.parametrize('leaf', ['apcnn_r50_cars.py', 'apcnn_r50_aircraft.py'])
def test_optimizer_on_cars_and_aircraft(leaf):
    assert set(groups(leaf).values()) == {(0.001, 0.9, 5e-4, False)}


@pytest.mark.parametrize('data, border', [('cub', 0.2), ('cars', 0.1), ('aircraft', 0.1)])
@pytest.mark.parametrize('backbone', ['r50', 'vgg19'])
def test_schedule_and_rois(backbone, data, border):
    cfg = load(f'apcnn_{backbone}_{data}.py')
    assert cfg.train_cfg.max_epochs == 100 and cfg.train_dataloader.batch_size == 16
    assert cfg.train_dataloader.drop_last
    assert cfg.param_scheduler == dict(type='CosineAnnealingLR', eta_min=0, by_epoch=True)
    generator = cfg.model.roi_generator
    assert generator.border == border
    assert generator.anchor_sizes == (64, 128, 256) and generator.topk == (5, 3, 1)
    assert cfg.model.head.dropblock_probs == (0.3, 0.3, 0.0)
    assert cfg.model.head.hidden_channels == (512 if data == 'cub' else 256)


@pytest.mark.parametrize('flip', [False, True])
def test_training_images(minibirds, flip):
    """Squashed to 600 x 600 by Pillow, cropped to 448 x 448, flipped, normalised as RGB."""
    cfg = load('apcnn_r50_cub.py')
    dataset_cfg = cfg.train_dataloader.dataset
    dataset_cfg.data_root = str(minibirds)
    assert dataset_cfg.pipeline[3] == dict(
        type='RandomFlip', prob=0.5, direction='horizontal'
    )
    dataset_cfg.pipeline[3].prob = float(flip)
    dataset = DATASETS.build(dataset_cfg)
    torch.manual_seed(0)
    np.random.seed(0)
    packed = dataset[0]
    model = build_model('apcnn_r50_cub.py', data_preprocessor=cfg.data_preprocessor)
    batch = dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']])
    image = model.data_preprocessor(batch)['inputs'][0]
    assert image.shape == (3, 448, 448)

    with Image.open(dataset.get_data_info(0)['img_path']) as original:
        squashed = original.convert('RGB').resize((600, 600), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.asarray(squashed)).permute(2, 0, 1) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    whole = (pixels - mean[:, None, None]) / std[:, None, None]
    if flip:
        image = image.flip(-1)
    # The crop is somewhere in it.
    row, column = image[:, 0], image[:, :, 0]
    places = [
        (y, x)
        for y in range(153)
        for x in range(153)
        if (whole[:, y, x] - image[:, 0, 0]).abs().max() < 0.03
        and (whole[:, y, x : x + 448] - row).abs().mean() < 0.01
        and (whole[:, y : y + 448, x] - column).abs().mean() < 0.01
    ]
    assert len(places) == 1
    ((y, x),) = places
    crop = whole[:, y : y + 448, x : x + 448]
    # Decoders and rounding differ by little.
    assert (image - crop).abs().mean() < 0.01
