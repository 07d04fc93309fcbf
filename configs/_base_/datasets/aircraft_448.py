"""FGVC-Aircraft: without its credit line, squashed to 448 x 448 pixels."""

data_root = 'data/fgvc-aircraft-2013b'

data_preprocessor = dict(
    # RGB, of ImageNet
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

train_pipeline = [
    # Large JPEGs are decoded at a fraction of their size, for what it is resized to.
    dict(type='LoadImageFromFile', _scope_='apcnn_mm', scale_hint=(448, 448)),
    dict(type='RemoveBottomRows', height=20),
    dict(type='AntialiasedResize', scale=(448, 448)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', _scope_='apcnn_mm', scale_hint=(448, 448)),
    dict(type='RemoveBottomRows', height=20),
    dict(type='AntialiasedResize', scale=(448, 448)),
    dict(
        type='PackInputs',
        # mmpretrain's, and what the evaluation of boxes reads.
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
        type='FGVCAircraftWithBoxes',
        data_root=data_root,
        split='trainval',
        pipeline=train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(
        type='FGVCAircraftWithBoxes',
        data_root=data_root,
        split='test',
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='Accuracy', topk=(1,)),
    dict(type='ObjectLocalization'),
]
test_evaluator = [*val_evaluator, dict(type='Calibration')]
