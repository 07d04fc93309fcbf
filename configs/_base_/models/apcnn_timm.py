"""AP-CNN on a CNN of timm. It tells the channels and strides of its outputs itself.

``timm.list_models()`` has the names for ``backbone.model_name``, and
``timm.list_pretrained()`` those of their weights, for ``timm://``.
"""

_base_ = 'apcnn_r50.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='TIMMBackbone',
        features_only=True,
        # Strides 8, 16 and 32.
        out_indices=(2, 3, 4),
        # Where there is no network: the path of a file from elsewhere.
        init_cfg=dict(type='Pretrained'),
    ),
    neck=dict(
        _delete_=True,
        type='AttentionFPN',
        out_channels=256,
        spatial='gate',
        channel='pathway',
    ),
    roi_generator=dict(
        _delete_=True,
        type='ROIPyramidGenerator',
        anchor_sizes=(64, 128, 256),
        topk=(5, 3, 1),
        iou_threshold=0.05,
        border=0.1,
    ),
)
