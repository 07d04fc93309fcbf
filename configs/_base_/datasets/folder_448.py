"""Own pictures in class folders: squashed to 600 x 600 pixels, 448 x 448 are cut out."""

data_root = 'data/my_pictures'

data_preprocessor = dict(
    # RGB, of ImageNet
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

train_pipeline = [
    # Large JPEGs are decoded at a fraction of their size, for what it is resized to.
    dict(type='LoadImageFromFile', _scope_='apcnn_mm', scale_hint=(600, 600)),
    dict(type='AntialiasedResize', scale=(600, 600)),
    dict(type='RandomCrop', crop_size=448),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', _scope_='apcnn_mm', scale_hint=(600, 600)),
    dict(type='AntialiasedResize', scale=(600, 600)),
    dict(type='CenterCrop', crop_size=448),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    # New workers for each epoch can be seeded anew: a resumed run is exact.
    persistent_workers=False,
    # AP-CNN cannot train on a batch of one image.
    drop_last=True,
    dataset=dict(
        type='ClassFolders', data_root=data_root, split='train', pipeline=train_pipeline
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(
        type='ClassFolders', data_root=data_root, split='val', pipeline=test_pipeline
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader
# There are no boxes of objects.
val_evaluator = [dict(type='Accuracy', topk=(1,))]
test_evaluator = [*val_evaluator, dict(type='Calibration')]
