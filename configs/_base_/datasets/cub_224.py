"""CUB-200-2011 at half the paper's size: squashed to 256 x 256, 224 x 224 are cut out."""

data_root = 'data/CUB_200_2011'

data_preprocessor = dict(
    # RGB, of ImageNet
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

train_pipeline = [
    # Large JPEGs are decoded at a fraction of their size, for what it is resized to.
    dict(type='LoadImageFromFile', _scope_='apcnn_mm', scale_hint=(256, 256)),
    dict(type='AntialiasedResize', scale=(256, 256)),
    dict(type='RandomCrop', crop_size=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', _scope_='apcnn_mm', scale_hint=(256, 256)),
    dict(type='AntialiasedResize', scale=(256, 256)),
    dict(type='CenterCrop', crop_size=224),
    dict(
        type='PackInputs',
        # mmpretrain's, and what the evaluation of boxes and the figures read.
        meta_keys=(
            'sample_idx',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
            'flip',
            'flip_direction',
            'ori_kp',
            'object_box',
            'object_parts',
        ),
    ),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    # New workers for each epoch can be seeded anew: a resumed run is exact.
    persistent_workers=False,
    # AP-CNN cannot train on a batch of one image.
    drop_last=True,
    dataset=dict(
        type='CUBWithBoxes', data_root=data_root, split='train', pipeline=train_pipeline
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(
        type='CUBWithBoxes', data_root=data_root, split='test', pipeline=test_pipeline
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='Accuracy', topk=(1,)),
    dict(type='ObjectLocalization'),
]
test_evaluator = [*val_evaluator, dict(type='Calibration')]
