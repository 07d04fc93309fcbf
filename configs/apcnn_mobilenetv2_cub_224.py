"""AP-CNN on CUB-200-2011 with MobileNetV2 at 224 pixels, fine-tuned for 20 epochs.

For a subset, set the number of its classes; the backbone's weights may be a local file:

    python tools/train.py configs/apcnn_mobilenetv2_cub_224.py --cfg-options \
        data_root=data/cub20 model.head.num_classes=20 \
        model.backbone.init_cfg.checkpoint=weights/mobilenetv2_in1k.pth
"""

_base_ = [
    '_base_/models/apcnn_mobilenetv2.py',
    '_base_/datasets/cub_224.py',
    '_base_/schedules/sgd_bs16_20e.py',
    '_base_/default_runtime.py',
]

model = dict(roi_generator=dict(border=0.2), head=dict(num_classes=200))

# The losses of eight classifiers add up in the backbone. On 20 classes of CUB-200-2011,
# larger rates were worse (docs/results.md).
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}))
