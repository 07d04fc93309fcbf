"""Own pictures in class folders: squashed to 256 x 256 pixels, 224 x 224 are cut out."""

_base_ = 'cub_224.py'

data_root = 'data/my_pictures'

train_dataloader = dict(dataset=dict(type='ClassFolders', data_root=data_root))
val_dataloader = dict(dataset=dict(type='ClassFolders', data_root=data_root, split='val'))
test_dataloader = val_dataloader
# There are no boxes of objects.
val_evaluator = [dict(type='Accuracy', topk=(1,))]
test_evaluator = [*val_evaluator, dict(type='Calibration')]
