"""Short fine-tuning: the paper's SGD with a larger learning rate for 20 epochs."""

_base_ = 'sgd_bs16_100e.py'

optim_wrapper = dict(optimizer=dict(lr=0.01))
train_cfg = dict(max_epochs=20)
