"""Refinement by ROI guided zoom-in alone: Table 4 (87.6 %)."""

_base_ = 'base.py'

model = dict(head=dict(dropblock_probs=(0.0, 0.0, 0.0)))
