"""tmp"""

_base_ = [
    '_base_/models/apcnn_r50.py',
    '_base_/datasets/cub_448.py',
    '_base_/schedules/sgd_bs16_100e.py',
    '_base_/default_runtime.py',
]
S = 128
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(144, 144), backend='pillow'),
    dict(type='RandomCrop', crop_size=128),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(144, 144), backend='pillow'),
    dict(type='CenterCrop', crop_size=128),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=16, num_workers=1, dataset=dict(data_root='/tmp/minibirds', pipeline=train_pipeline))
val_dataloader = dict(batch_size=30, num_workers=1, dataset=dict(data_root='/tmp/minibirds', pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(
    backbone=dict(depth=18, stem_channels=32, base_channels=32, init_cfg=None, zero_init_residual=False),
    neck=dict(in_channels=[64, 128, 256], out_channels=128),
    roi_generator=dict(anchor_sizes=(24, 48, 96)),
    head=dict(num_classes=10, in_channels=128, hidden_channels=128),
)
optim_wrapper = dict(optimizer=dict(lr=0.02))
train_cfg = dict(max_epochs=30, val_interval=5)
param_scheduler = dict(T_max=30)
