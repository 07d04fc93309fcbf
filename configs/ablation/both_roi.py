"""The whole AP-CNN: the last rows of Tables 4, 5 and 6 (88.4 %)."""

_base_ = 'base.py'
