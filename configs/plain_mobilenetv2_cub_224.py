"""The backbone of apcnn_mobilenetv2_cub_224.py alone, with the same schedule.

python tools/train.py configs/plain_mobilenetv2_cub_224.py
"""

_base_ = [
    '_base_/datasets/cub_224.py',
    '_base_/schedules/sgd_bs16_20e.py',
    '_base_/default_runtime.py',
]

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='MobileNetV2',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/mobilenet_v2/mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth',  # noqa: E501
            prefix='backbone',
        ),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=200, in_channels=1280),
)
