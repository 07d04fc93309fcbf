"""The backbone alone: "Baseline" in Tables 2 and 6 (84.1 %)."""

_base_ = 'base.py'

head = dict(type='LinearClsHead', num_classes=_base_.model.head.num_classes)
if 'in_channels' in _base_.model.neck:  # otherwise the backbone tells them
    head['in_channels'] = _base_.model.neck.in_channels[-1]

# AP-CNN's backbone, with all its outputs: the head takes the last one.
model = dict(
    _delete_=True,
    type='PlainClassifier',
    backbone=_base_.model.backbone,
    neck=dict(type='GlobalAveragePooling'),
    head=head,
)

# It finds no boxes.
val_evaluator = [dict(type='Accuracy', topk=(1,))]
test_evaluator = val_evaluator
