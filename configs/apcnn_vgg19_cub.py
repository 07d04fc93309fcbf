"""AP-CNN on CUB-200-2011 with VGG-19 at 448 pixels.

Table 1 of the paper: 86.7 % with two stages and 85.4 % with one, which is
``--cfg-options model.stages=raw``. The paper does not say whether its VGG-19 has batch
normalisation; this one has.

    python tools/train.py configs/apcnn_vgg19_cub.py
"""

_base_ = [
    '_base_/models/apcnn_vgg19.py',
    '_base_/datasets/cub_448.py',
    # One learning rate for all layers, as the paper writes it.
    '_base_/schedules/sgd_bs16_100e.py',
    '_base_/default_runtime.py',
]

model = dict(
    roi_generator=dict(border=0.2),
    head=dict(num_classes=200, hidden_channels=512),
)
