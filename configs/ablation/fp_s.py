"""Spatial gates, one stage: "FPN + S" in Table 3 (86.7 %)."""

_base_ = 'base.py'

model = dict(stages='raw', neck=dict(spatial='gate', channel=None))
