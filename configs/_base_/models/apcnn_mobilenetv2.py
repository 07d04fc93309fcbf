"""AP-CNN on MobileNetV2 for inputs of 224 pixels."""

_base_ = 'apcnn_r50.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='MobileNetV2',
        # The last outputs of the strides 8, 16 and 32.
        out_indices=(2, 4, 7),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/mobilenet_v2/mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth',  # noqa: E501
            prefix='backbone',
        ),
    ),
    neck=dict(in_channels=[32, 96, 1280]),
    # The paper's 64, 128 and 256 are of 448 pixels.
    roi_generator=dict(anchor_sizes=(32, 64, 128)),
)
