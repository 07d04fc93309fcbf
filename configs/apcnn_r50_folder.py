"""AP-CNN with ResNet-50 on your own pictures, one folder for each class.

The pictures lie in ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg``; the names of the
folders are the names of the classes. Give the root of these folders:

    python tools/train.py configs/apcnn_r50_folder.py \
        --cfg-options data_root=data/my_pictures

``tools/split_dataset.py`` makes ``train/`` and ``val/`` of class folders without a split.
The backbone's ImageNet weights are downloaded. Without a network, download
https://download.pytorch.org/models/resnet50-0676ba61.pth elsewhere and add
``model.backbone.init_cfg.checkpoint=resnet50-0676ba61.pth``.
"""

_base_ = [
    '_base_/models/apcnn_r50.py',
    '_base_/datasets/folder_448.py',
    '_base_/schedules/sgd_bs16_100e.py',
    '_base_/default_runtime.py',
]

# The number of classes is that of the folders.
model = dict(head=dict(num_classes=None))
