"""AP-CNN with MobileNetV2 at 224 pixels on your own pictures, for an evening without a GPU.

The pictures lie in ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg``; the names of the
folders are the names of the classes. Give the root of these folders:

    python tools/train.py configs/apcnn_mobilenetv2_folder_224.py \
        --cfg-options data_root=data/my_pictures

``tools/split_dataset.py`` makes ``train/`` and ``val/`` of class folders without a split.
The backbone's ImageNet weights are downloaded. Without a network, download the file that
``configs/_base_/models/apcnn_mobilenetv2.py`` names elsewhere and add
``model.backbone.init_cfg.checkpoint=`` with its path.
"""

_base_ = [
    '_base_/models/apcnn_mobilenetv2.py',
    '_base_/datasets/folder_224.py',
    '_base_/schedules/sgd_bs16_20e.py',
    '_base_/default_runtime.py',
]

# The number of classes is that of the folders.
model = dict(head=dict(num_classes=None))

# As for CUB-200-2011, with few pictures (docs/results.md).
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}))
