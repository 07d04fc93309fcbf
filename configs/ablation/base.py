"""What the rows of the paper's ablations are changes of: the whole AP-CNN on CUB-200-2011.

Tables 3, 4, 5 and 6 are on CUB-200-2011 with ResNet-50, and so is half of Table 2.
The variable ABLATION_BASE of the environment puts another config, with another data set and
backbone, in the place of the base; ``tools/run_ablation.py`` sets it.
"""

_base_ = '{{$ABLATION_BASE:../apcnn_r50_cub.py}}'
