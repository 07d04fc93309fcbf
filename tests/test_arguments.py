import math

import pytest

from apcnn_mm.arguments import check_choice, check_config, check_number, check_numbers


@pytest.mark.parametrize('value', ['0.1', None, True, [1], math.nan, math.inf, -1, 2])
def test_no_such_number(value):
    with pytest.raises((TypeError, ValueError), match='^the.name must be'):
        check_number('the.name', value, minimum=0, maximum=1)


def test_numbers_in_the_range():
    check_number('n', 0, minimum=0)
    check_number('n', 0.5, above=0, below=1)
    check_numbers('n', (1, 2), length=2, integer=True)


@pytest.mark.parametrize('value', [0, 1])
def test_open_range(value):
    with pytest.raises(ValueError, match='above 0 and below 1'):
        check_number('n', value, above=0, below=1)


def test_whole_numbers():
    with pytest.raises(TypeError, match='n must be a whole number, not 1.0'):
        check_number('n', 1.0, integer=True)


@pytest.mark.parametrize('values', ['12', 3, None, {1: 2}, [], (1, 2, 3), (1, None)])
def test_no_such_numbers(values):
    with pytest.raises((TypeError, ValueError), match='n(\\[1\\])? (must be|needs 2)'):
        check_numbers('n', values, length=2)


def test_choices():
    check_choice('switch', True, (True, False))
    for wrong in (1, 'True', None):
        with pytest.raises(ValueError, match='switch must be one of'):
            check_choice('switch', wrong, (True, False))


def test_configs():
    check_config('model.neck', dict(type='FPN'))
    check_config('model.neck', None, optional=True)
    for wrong in (None, 'FPN', dict(depth=50)):
        with pytest.raises(TypeError, match='model.neck'):
            check_config('model.neck', wrong)
