"""AP-CNN on VGG-19 with batch normalisation."""

_base_ = 'apcnn_r50.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='VGG',
        depth=19,
        norm_cfg=dict(type='BN'),
        # conv3, conv4 and conv5, each with the pooling that ends it: strides 8, 16, 32,
        # those of ResNet's conv3, conv4 and conv5.
        out_indices=(2, 3, 4),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/vgg/vgg19_bn_batch256_imagenet_20210208-da620c4f.pth',  # noqa: E501
            prefix='backbone',
        ),
    ),
    neck=dict(in_channels=[256, 512, 512]),
)
