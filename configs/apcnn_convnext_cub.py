"""AP-CNN on CUB-200-2011 with ConvNeXt-tiny at 448 pixels.

The weights have seen ImageNet-21k, then ImageNet-1k at 384 pixels. Nobody has published
AP-CNN on ConvNeXt, so there is no number to expect.

    python tools/train.py configs/apcnn_convnext_cub.py
"""

_base_ = [
    '_base_/models/apcnn_r50.py',
    '_base_/datasets/cub_448.py',
    '_base_/schedules/sgd_bs16_100e.py',
    '_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='ConvNeXt',
        arch='tiny',
        drop_path_rate=0.1,
        # Strides 8, 16 and 32.
        out_indices=(1, 2, 3),
        # Feature maps, not their means.
        gap_before_final_norm=False,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/convnext/convnext-tiny_in21k-pre_3rdparty_in1k-384px_20221219-c1182362.pth',  # noqa: E501
            prefix='backbone',
        ),
    ),
    neck=dict(in_channels=[192, 384, 768]),
    roi_generator=dict(border=0.2),
    head=dict(num_classes=200, hidden_channels=512),
)

# As mmpretrain fine-tunes Swin on CUB (swin-large_8xb8_cub-384px.py): AdamW with little
# weight decay, clipped gradients and five epochs of warm-up. The neck and the head are
# new and learn ten times faster.
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        by_epoch=True,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', eta_min=0, by_epoch=True, begin=5),
]
