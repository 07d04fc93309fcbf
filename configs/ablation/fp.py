"""Feature pyramid, one stage: "FP" in Table 2 and "FPN" in Table 3 (86.6 %)."""

_base_ = 'base.py'

model = dict(stages='raw', neck=dict(spatial=None, channel=None))
