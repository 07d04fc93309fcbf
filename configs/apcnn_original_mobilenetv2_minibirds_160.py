"""A second look at the original pictures, where birds are small in them (docs/results.md).

    python tools/make_minibirds.py data/small_minibirds --size 512 --bird-size 0.14 0.22
    python tools/train.py configs/apcnn_original_mobilenetv2_minibirds_160.py

At 160 pixels, a bird is some 30 pixels long; in the pictures, which are kept for the second
look, three times as much. Foreground gates and smaller anchors find it.
"""

_base_ = [
    '_base_/models/apcnn_mobilenetv2.py',
    '_base_/datasets/minibirds_128.py',
    '_base_/schedules/sgd_bs16_20e.py',
    '_base_/default_runtime.py',
]

data_root = 'data/small_minibirds'

model = dict(
    neck=dict(spatial_gate='foreground'),
    roi_generator=dict(anchor_sizes=(12, 24, 48), border=0, center_offset=0.5),
    head=dict(num_classes=10),
    refine_at='original',
)

# The longest side of the pictures that are kept for the second look.
original_size = 1024
loading = dict(type='LoadImageFromFile', _scope_='apcnn_mm', scale_hint=original_size)
train_pipeline = [
    loading,
    dict(
        type='KeepOriginal',
        max_size=original_size,
        transforms=[
            dict(type='AntialiasedResize', scale=(176, 176)),
            dict(type='RandomCrop', crop_size=160),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
        ],
    ),
    dict(type='PackInputs', algorithm_keys=('original',)),
]
test_pipeline = [
    loading,
    dict(
        type='KeepOriginal',
        max_size=original_size,
        transforms=[
            dict(type='AntialiasedResize', scale=(176, 176)),
            dict(type='CenterCrop', crop_size=160),
        ],
    ),
    dict(
        type='PackInputs',
        algorithm_keys=('original',),
        meta_keys=_base_.test_dataloader.dataset.pipeline[-1].meta_keys,
    ),
]
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
test_evaluator = [
    *_base_.test_evaluator[:-1],
    dict(_base_.test_evaluator[-1], data_root=data_root),
]

optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}))
train_cfg = dict(max_epochs=10)
