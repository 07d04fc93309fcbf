"""AP-CNN on Stanford Cars with VGG-19 at 448 pixels.

Table 1 of the paper: 94.6 % with two stages and 93.2 % with one, which is
``--cfg-options model.stages=raw``.

    python tools/train.py configs/apcnn_vgg19_cars.py
"""

_base_ = [
    '_base_/models/apcnn_vgg19.py',
    '_base_/datasets/cars_448.py',
    '_base_/schedules/sgd_bs16_100e.py',
    '_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=196))
