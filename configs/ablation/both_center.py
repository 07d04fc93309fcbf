"""Refinement by dropblock and zoom-in of the same boxes in the middle of all images.

It is no row of the paper: a place that knows nothing of the image, beside Table 4's random
ones.
"""

_base_ = 'base.py'

model = dict(roi_generator=dict(guidance='center'))
