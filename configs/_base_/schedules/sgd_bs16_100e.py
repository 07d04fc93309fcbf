"""Section 4.1: SGD, batch size 16, 100 epochs, cosine annealing to zero.

The weight decay is the released code's, and so is one learning rate for each epoch.
"""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.001, momentum=0.9, weight_decay=5e-4),
)
# From the first epoch to the last one of train_cfg.max_epochs.
param_scheduler = dict(type='CosineAnnealingLR', eta_min=0, by_epoch=True)
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# The batch size, over all devices, that the learning rate was chosen for.
auto_scale_lr = dict(base_batch_size=16)
