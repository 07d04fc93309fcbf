"""The backbone alone: "Baseline" in Tables 2 and 6 (84.1 %)."""

_base_ = 'base.py'

# AP-CNN's backbone, and of its outputs the last one: what makes only the others, such as
# ConvNeXt's norms, would get no gradients.
model = dict(
    _delete_=True,
    type='PlainClassifier',
    backbone=dict(
        _base_.model.backbone, out_indices=_base_.model.backbone.out_indices[-1:]
    ),
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
