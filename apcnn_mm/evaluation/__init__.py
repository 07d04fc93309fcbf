from .calibration import Calibration
from .object_localization import ObjectLocalization
from .taxonomy_accuracy import TaxonomyAccuracy

__all__ = ['Calibration', 'ObjectLocalization', 'TaxonomyAccuracy']
