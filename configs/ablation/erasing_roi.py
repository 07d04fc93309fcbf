"""Refinement by ROI guided dropblock alone: Table 4 (87.4 %)."""

_base_ = 'base.py'

model = dict(head=dict(zoom_in=False))
