"""Refinement by dropblock and zoom-in, of random boxes: Table 4 (87.6 %)."""

_base_ = 'base.py'

model = dict(roi_generator=dict(guidance='random'))
