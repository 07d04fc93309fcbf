"""Refinement after conv1: Table 5 (87.9 %)."""

_base_ = 'base.py'

model = dict(refine_at='conv1')
