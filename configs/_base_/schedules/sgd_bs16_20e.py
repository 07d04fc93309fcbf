"""Short fine-tuning: the paper's schedule in 20 epochs."""

_base_ = 'sgd_bs16_100e.py'

train_cfg = dict(max_epochs=20)
