"""AP-CNN on ResNet-50, as in section 4.1 and the released code."""

model = dict(
    type='APCNN',
    backbone=dict(
        type='ResNet',
        depth=50,
        # conv3, conv4 and conv5
        out_indices=(1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    neck=dict(
        type='AttentionFPN',
        in_channels=[512, 1024, 2048],
        out_channels=256,
        spatial='gate',
        channel='pathway',
    ),
    roi_generator=dict(
        type='ROIPyramidGenerator',
        strides=(8, 16, 32),
        anchor_sizes=(64, 128, 256),
        topk=(5, 3, 1),
        iou_threshold=0.05,
        border=0.1,
    ),
    head=dict(
        type='APCNNHead',
        num_classes=1000,
        in_channels=256,
        hidden_channels=256,
        dropblock_probs=(0.3, 0.3, 0.0),
    ),
)
