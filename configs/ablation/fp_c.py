"""Channel gates, one stage: "FPN + C" in Table 3 (86.8 %)."""

_base_ = 'base.py'

model = dict(stages='raw', neck=dict(spatial=None, channel='gate'))
