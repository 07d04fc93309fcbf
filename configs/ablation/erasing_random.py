"""Refinement by dropblock of random boxes alone: Table 4 (87.1 %)."""

_base_ = 'base.py'

model = dict(roi_generator=dict(guidance='random'), head=dict(zoom_in=False))
