"""The best on few real birds: foreground gates, and the second look at the input's pixels.

Both go beyond the paper's best model: the gates find the bird from the activations of the
backbone, and the merged box is cut out of the input image (the first row of Table 5).
Measured on a subset of CUB-200-2011 in docs/results.md, with:

    python tools/train.py configs/apcnn_foreground_mobilenetv2_cub_224.py --cfg-options \
        data_root=data/cub20 model.head.num_classes=20 train_cfg.max_epochs=10 \
        model.backbone.init_cfg.checkpoint=weights/mobilenetv2_in1k.pth
"""

_base_ = 'apcnn_mobilenetv2_cub_224.py'

model = dict(
    neck=dict(spatial_gate='foreground'),
    roi_generator=dict(border=0, center_offset=0.5),
    refine_at='input',
)
