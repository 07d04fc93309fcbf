from .calibration import Calibration
from .object_localization import ObjectLocalization

__all__ = ['Calibration', 'ObjectLocalization']
