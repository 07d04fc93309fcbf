"""Bottom-up spatial pathway, one stage: "FPN + C + SP" in Table 3 (86.9 %)."""

_base_ = 'base.py'

model = dict(stages='raw', neck=dict(spatial='pathway', channel='gate'))
