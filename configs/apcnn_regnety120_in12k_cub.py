"""AP-CNN on CUB-200-2011 with timm's RegNetY-12GF at 448 pixels.

The weights, ``regnety_120.sw_in12k_ft_in1k``, have seen ImageNet-12k, then ImageNet-1k.
Everything else is as with ResNet-50. Nobody has published AP-CNN on RegNetY, so there is no
number to expect. Needs timm (``pip install timm``).

    python tools/train.py configs/apcnn_regnety120_in12k_cub.py
"""

_base_ = [
    '_base_/models/apcnn_timm.py',
    '_base_/datasets/cub_448.py',
    '_base_/schedules/sgd_bs16_100e.py',
    '_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        model_name='regnety_120',
        init_cfg=dict(checkpoint='timm://regnety_120.sw_in12k_ft_in1k'),
    ),
    roi_generator=dict(border=0.2),
    head=dict(num_classes=200, hidden_channels=512),
)

# The released code's.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}))
