"""Refinement after conv2: Table 5 (88.1 %)."""

_base_ = 'base.py'

model = dict(refine_at='conv2')
