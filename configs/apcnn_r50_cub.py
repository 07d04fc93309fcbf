"""AP-CNN on CUB-200-2011 with ResNet-50 at 448 pixels.

Table 1 of the paper: 88.4 % with two stages and 87.2 % with one, which is
``--cfg-options model.stages=raw``. An independent re-run of the released code: 87.84 %.

    python tools/train.py configs/apcnn_r50_cub.py
"""

_base_ = [
    '_base_/models/apcnn_r50.py',
    '_base_/datasets/cub_448.py',
    '_base_/schedules/sgd_bs16_100e.py',
    '_base_/default_runtime.py',
]

model = dict(
    roi_generator=dict(border=0.2),
    head=dict(num_classes=200, hidden_channels=512),
)

# On birds the released code trains conv1 to conv4 with a tenth of the learning rate.
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            'backbone': dict(lr_mult=0.1),
            'backbone.layer4': dict(lr_mult=1.0),
        }
    )
)
