"""Refinement of the picture as it was loaded: beyond Table 5, see docs/refinement.md."""

_base_ = 'base.py'

model = dict(refine_at='original')

# The longest side of the pictures that are kept for the second look.
original_size = 1024

train_pipeline = [
    dict(_base_.train_dataloader.dataset.pipeline[0], scale_hint=original_size),
    dict(
        type='KeepOriginal',
        max_size=original_size,
        transforms=_base_.train_dataloader.dataset.pipeline[1:-1],
    ),
    dict(_base_.train_dataloader.dataset.pipeline[-1], algorithm_keys=('original',)),
]
test_pipeline = [
    dict(_base_.test_dataloader.dataset.pipeline[0], scale_hint=original_size),
    dict(
        type='KeepOriginal',
        max_size=original_size,
        transforms=_base_.test_dataloader.dataset.pipeline[1:-1],
    ),
    dict(_base_.test_dataloader.dataset.pipeline[-1], algorithm_keys=('original',)),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
