"""MiniBirds of tools/make_minibirds.py at 128 x 128 pixels, for a CPU."""

_base_ = 'cub_448.py'

data_root = 'data/minibirds'

train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = (144, 144)
train_pipeline[2].crop_size = 128
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (144, 144)
test_pipeline[2].crop_size = 128

train_dataloader = dict(
    num_workers=1, dataset=dict(data_root=data_root, pipeline=train_pipeline)
)
val_dataloader = dict(
    batch_size=30,
    num_workers=1,
    dataset=dict(data_root=data_root, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
