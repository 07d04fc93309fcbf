"""A registry of this package's own, for names that mmpretrain has as well.

``dict(type='LoadImageFromFile', _scope_='apcnn_mm')`` is the one that is registered here;
without ``_scope_`` it is mmpretrain's, as ever. mmengine finds this module by its name.
"""

from mmengine.registry import Registry
from mmpretrain.registry import TRANSFORMS as MMPRETRAIN_TRANSFORMS

TRANSFORMS = Registry(
    'transform',
    parent=MMPRETRAIN_TRANSFORMS,
    scope='apcnn_mm',
    locations=['apcnn_mm.datasets'],
)
