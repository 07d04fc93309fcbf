"""AP-CNN on CUB-200-2011 with timm's EfficientNet-Lite0 at 224 pixels, for 20 epochs.

Needs timm (``pip install timm``). For a subset, set the number of its classes; the
backbone's weights may be a local file:

    python tools/train.py configs/apcnn_efficientnet_lite0_cub_224.py --cfg-options \
        data_root=data/cub20 model.head.num_classes=20 \
        model.backbone.init_cfg.checkpoint=weights/tf_efficientnet_lite0.safetensors
"""

_base_ = [
    '_base_/models/apcnn_timm.py',
    '_base_/datasets/cub_224.py',
    '_base_/schedules/sgd_bs16_20e.py',
    '_base_/default_runtime.py',
]

# What these weights were trained with.
data_preprocessor = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])

model = dict(
    backbone=dict(
        model_name='tf_efficientnet_lite0',
        # With the statistics of a batch of birds, these weights give other features
        # (docs/results.md).
        norm_eval=True,
        init_cfg=dict(checkpoint='timm://tf_efficientnet_lite0.in1k'),
    ),
    # The paper's 64, 128 and 256 are of 448 pixels.
    roi_generator=dict(anchor_sizes=(32, 64, 128), border=0.2),
    head=dict(num_classes=200),
)

# Chosen on held-out training images (docs/results.md): 0.0001 in the backbone. With
# norm_eval, 0.001 is much worse there.
optim_wrapper = dict(
    optimizer=dict(lr=0.01),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.01)}),
)
