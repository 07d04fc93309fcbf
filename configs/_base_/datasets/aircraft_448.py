"""FGVC-Aircraft: without its credit line, squashed to 448 x 448 pixels."""

_base_ = 'cars_448.py'

data_root = 'data/fgvc-aircraft-2013b'

train_pipeline = _base_.train_pipeline
train_pipeline.insert(1, dict(type='RemoveBottomRows', height=20))
test_pipeline = _base_.test_pipeline
test_pipeline.insert(1, dict(type='RemoveBottomRows', height=20))

train_dataloader = dict(
    dataset=dict(
        type='FGVCAircraftWithBoxes',
        data_root=data_root,
        split='trainval',
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(type='FGVCAircraftWithBoxes', data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader
