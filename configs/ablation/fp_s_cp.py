"""Bottom-up channel pathway, one stage: "FPN + S + CP" in Table 3 (87.2 %).

It is also "FP + AP" in Table 2, the first row of Table 4 and "B" in Table 6.
"""

_base_ = 'base.py'

model = dict(stages='raw')
