"""AP-CNN with ResNet-50 on your own pictures, one folder for each class.

The pictures lie in ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg``; the names of the
folders are the names of the classes. Give the root of these folders and the number of
classes:

    python tools/train.py configs/apcnn_r50_folder.py \
        --cfg-options data_root=data/my_pictures model.head.num_classes=12

The backbone's ImageNet weights are downloaded. Without a network, download
https://download.pytorch.org/models/resnet50-19c8e357.pth elsewhere and add
``model.backbone.init_cfg.checkpoint=resnet50-19c8e357.pth``.
"""

_base_ = [
    '_base_/models/apcnn_r50.py',
    '_base_/datasets/cub_448.py',
    '_base_/schedules/sgd_bs16_100e.py',
    '_base_/default_runtime.py',
]

data_root = 'data/my_pictures'

train_dataloader = dict(
    dataset=dict(type='ClassFolders', data_root=data_root, split='train')
)
val_dataloader = dict(dataset=dict(type='ClassFolders', data_root=data_root, split='val'))
test_dataloader = val_dataloader

# There are no boxes of objects.
val_evaluator = [dict(type='Accuracy', topk=(1,))]
test_evaluator = val_evaluator
