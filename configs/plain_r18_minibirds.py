"""The backbone of apcnn_r18_minibirds.py alone, under the same budget.

python tools/make_minibirds.py data/minibirds
python tools/train.py configs/plain_r18_minibirds.py
"""

_base_ = [
    '_base_/datasets/minibirds_128.py',
    '_base_/schedules/adamw_bs16_30e.py',
    '_base_/default_runtime.py',
]

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet',
        depth=18,
        stem_channels=32,
        base_channels=32,
        zero_init_residual=False,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=256),
)
