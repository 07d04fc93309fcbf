"""AP-CNN on Stanford Cars with ResNet-50 at 448 pixels.

Table 1 of the paper: 95.4 % with two stages and 93.6 % with one, which is
``--cfg-options model.stages=raw``.

    python tools/train.py configs/apcnn_r50_cars.py
"""

_base_ = [
    '_base_/models/apcnn_r50.py',
    '_base_/datasets/cars_448.py',
    '_base_/schedules/sgd_bs16_100e.py',
    '_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=196))
