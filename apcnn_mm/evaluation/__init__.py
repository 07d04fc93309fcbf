from .object_localization import ObjectLocalization

__all__ = ['ObjectLocalization']
