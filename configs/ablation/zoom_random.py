"""Refinement by zoom-in into random boxes alone: Table 4 (87.3 %)."""

_base_ = 'base.py'

model = dict(
    roi_generator=dict(guidance='random'), head=dict(dropblock_probs=(0.0, 0.0, 0.0))
)
