"""CUB-200-2011 at half the paper's size: squashed to 256 x 256, 224 x 224 are cut out."""

_base_ = 'cub_448.py'

train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = (256, 256)
train_pipeline[2].crop_size = 224
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (256, 256)
test_pipeline[2].crop_size = 224

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
