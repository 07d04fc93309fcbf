"""AP-CNN on FGVC-Aircraft with VGG-19 at 448 pixels.

Table 1 of the paper: 92.9 % with two stages and 91.5 % with one, which is
``--cfg-options model.stages=raw``.

    python tools/train.py configs/apcnn_vgg19_aircraft.py
"""

_base_ = [
    '_base_/models/apcnn_vgg19.py',
    '_base_/datasets/aircraft_448.py',
    '_base_/schedules/sgd_bs16_100e.py',
    '_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=100))
