"""Checks of arguments, each with one error that names the argument.

Configs hand anything to a class: a number as text, None, NaN. Left alone, such a value ends
deep inside PyTorch or, worse, in a model that is none.
"""

import math
from numbers import Integral, Real
from typing import Any, Optional, Sequence


def check_number(
    name: str,
    value: Any,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    integer: bool = False,
    above: float = -math.inf,
    below: float = math.inf,
):
    """Check one number.

    Args:
        name (str): What the user calls it, such as ``roi_generator.border``.
        value (Any): The value.
        minimum (float): The smallest number allowed. Defaults to none.
        maximum (float): The largest number allowed. Defaults to none.
        integer (bool): Whether only whole numbers are allowed. Defaults to False.
        above (float): A bound that the number must not reach. Defaults to none.
        below (float): The same from above. Defaults to none.

    Raises:
        TypeError: If it is no number, or no whole one.
        ValueError: If it is NaN, infinite or out of the range.
    """
    kind = Integral if integer else Real
    if isinstance(value, bool) or not isinstance(value, kind):
        wanted = 'a whole number' if integer else 'a number'
        raise TypeError(f'{name} must be {wanted}, not {value!r}.')
    if not (math.isfinite(value) and minimum <= value <= maximum and above < value < below):
        limits = {
            'at least': minimum,
            'at most': maximum,
            'above': above,
            'below': below,
        }
        words = [
            f'{text} {limit}' for text, limit in limits.items() if math.isfinite(limit)
        ]
        raise ValueError(
            f'{name} must be {" and ".join(words) or "finite"}, not {value!r}.'
        )


def check_numbers(name: str, values: Any, length: Optional[int] = None, **limits):
    """Check a sequence of numbers.

    Args:
        name (str): What the user calls it.
        values (Any): The value.
        length (int, optional): How many there must be. Defaults to None: one or more.
        **limits: Those of :func:`check_number`, for each of them.

    Raises:
        TypeError: If it is no sequence of numbers.
        ValueError: If their number or one of them is out of the range.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(f'{name} must be a list or tuple of numbers, not {values!r}.')
    if not values or length not in (None, len(values)):
        raise ValueError(
            f'{name} needs {length or "at least one"} value(s), but has {len(values)}: '
            f'{values!r}.'
        )
    for i, value in enumerate(values):
        check_number(f'{name}[{i}]', value, **limits)


def check_choice(name: str, value: Any, choices: Sequence):
    """Check that a value is one of a few.

    Args:
        name (str): What the user calls it.
        value (Any): The value.
        choices (Sequence): The values allowed; for a switch ``(True, False)``.

    Raises:
        ValueError: If it is none of them.
    """
    # 1 == True, but a config that says 1 where it must say True is mistaken.
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise ValueError(f'{name} must be one of {tuple(choices)}, not {value!r}.')


def check_config(name: str, value: Any, optional: bool = False):
    """Check that a value can be built by a registry: a dict with a ``type``.

    Args:
        name (str): What the user calls it.
        value (Any): The value.
        optional (bool): Whether it may be None. Defaults to False.

    Raises:
        TypeError: If it is something else.
    """
    if optional and value is None:
        return
    if not isinstance(value, dict) or 'type' not in value:
        raise TypeError(f"{name} must be a dict with a 'type', not {value!r}.")


def check_type(name: str, value: Any, *types: type):
    """Check that a value is of one of a few types.

    Args:
        name (str): What the user calls it.
        value (Any): The value.
        *types (type): The types; ``type(None)`` for an optional one.

    Raises:
        TypeError: If it is of another one.
    """
    if not isinstance(value, types):
        expected = ', '.join(kind.__name__ for kind in types)
        raise TypeError(
            f'{name} must be one of {expected}, not {type(value).__name__}: {value!r:.200}.'
        )
