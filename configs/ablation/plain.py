"""The backbone alone: "Baseline" in Tables 2 and 6 (84.1 %)."""

_base_ = 'base.py'

# AP-CNN's backbone, with all its outputs: the head takes the last one.
model = dict(
    _delete_=True,
    type='PlainClassifier',
    backbone=_base_.model.backbone,
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=_base_.model.head.num_classes,
        # None: the backbone tells them.
        in_channels=_base_.model.neck.get('in_channels', [None])[-1],
    ),
)

# It finds no boxes.
val_evaluator = [dict(type='Accuracy', topk=(1,))]
test_evaluator = val_evaluator
