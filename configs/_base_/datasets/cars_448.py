"""Stanford Cars: squashed to 448 x 448 pixels, nothing is cut off."""

_base_ = 'cub_448.py'

data_root = 'data/Stanford_Cars'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(448, 448), backend='pillow'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(448, 448), backend='pillow'),
    _base_.test_pipeline[-1],
]

train_dataloader = dict(
    dataset=dict(type='StanfordCarsWithBoxes', data_root=data_root, pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(type='StanfordCarsWithBoxes', data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader
