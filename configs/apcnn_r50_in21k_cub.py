"""AP-CNN on CUB-200-2011 with a ResNet-50 that has seen ImageNet-21k.

Everything else is as in apcnn_r50_cub.py. Nobody has published AP-CNN with these
weights, so there is no number to expect; mmpretrain reports 88.45 % for the plain
ResNet-50 with them, in a schedule of its own (resnet50_8xb8_cub.py).

    python tools/train.py configs/apcnn_r50_in21k_cub.py
"""

_base_ = 'apcnn_r50_cub.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmclassification/v0/resnet/resnet50_3rdparty-mill_in21k_20220331-faac000b.pth',  # noqa: E501
            prefix='backbone',
        )
    )
)
