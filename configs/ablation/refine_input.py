"""Refinement of the input image: Table 5 (88.1 %)."""

_base_ = 'base.py'

model = dict(refine_at='input')
