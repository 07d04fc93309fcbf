"""Spatial and channel gates, one stage: "FPN + S + C" in Table 3 (86.7 %).

It is also "A" in Table 6.
"""

_base_ = 'base.py'

model = dict(stages='raw', neck=dict(spatial='gate', channel='gate'))
