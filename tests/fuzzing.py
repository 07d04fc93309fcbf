"""Wrong values in place of right ones, and how the package takes them.

There is no table of what is expected of each. A value of another type, NaN and the like are
never right and must be refused; others, such as 0 or a shorter list, are refused or work.
Whoever refuses names the argument.
"""

import inspect
import math
import random
import re
from copy import deepcopy
from typing import get_args, get_type_hints

NO_NUMBERS = ['1', None, True, math.nan, math.inf, -math.inf, [1], dict(type='ReLU')]
NO_SWITCHES = ['True', 'False', '', None, 0, 1, 2.0, [], [True], {}]
NO_TEXTS = [1, 0.5, True, [], ['both'], {}, dict(type='ReLU')]
NO_SEQUENCES = [None, '', '123', 1, 0.5, True, {}, {1, 2, 3}, dict(type='ReLU')]
NO_CONFIGS = ['ReLU', '', 1, True, [], [dict(type='ReLU')], {}, dict(kind='ReLU')]


def mutants(right, seed=0):
    """Other values than the right one, each with whether it can be of use."""
    draw = random.Random(f'{right} {seed}')
    if isinstance(right, bool):
        wrong, edges = NO_SWITCHES, []
    elif isinstance(right, (int, float)):
        wrong = NO_NUMBERS
        edges = [0, 1, -1, -right, 0.5, 1.0, 1e-9, 2 * right, right + 0.5]
    elif isinstance(right, str):
        wrong, edges = NO_TEXTS, [None, '', 'other', right.upper(), right + ' ']
    elif isinstance(right, (list, tuple)):
        wrong = list(NO_SEQUENCES)
        last = [right[-1]]
        edges = [[], [*right[:-1]], [*right, *last], [*right[::-1]], last * len(right)]
        # One of them, or all.
        for value, useful in mutants(right[-1], seed):
            place = draw.randrange(len(right))
            values = [value if i == place else right[i] for i in range(len(right))]
            for mutant in (values, [value] * len(right)):
                (edges if useful else wrong).append(mutant)
        wrong.append([list(right)])
    else:
        wrong, edges = NO_CONFIGS, [None, dict(type='Absent')]
    found = [(value, False) for value in wrong] + [(value, True) for value in edges]
    return [(deepcopy(value), useful) for value, useful in found if not _same(value, right)]


def _same(one, other):
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return [*map(repr, one)] == [*map(repr, other)]
    return repr(one) == repr(other)


def mutated(config, path, value):
    """A copy of a config with another value at a path of keys."""
    config = deepcopy(config)
    node = config
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return config


def at(config, path):
    """What a config has at a path of keys."""
    for key in path:
        config = config[key]
    return config


def fault(build, use, config, *names, useful=True):
    """What is wrong with how a config is taken, or None.

    Args:
        build (Callable): Builds something of the config.
        use (Callable): Uses what was built.
        config (Any): The config.
        *names (str): The arguments that an error may name.
        useful (bool): Whether the config may be taken.
    """
    try:
        built = build(deepcopy(config))
    except Exception as error:  # of any type: what counts is what it says
        return None if _names(error, names) else f'unclear: {error!r}'
    if not useful:
        return 'accepted'
    try:
        use(built)
    except Exception as error:
        # What goes with the backbone's outputs is only seen when there are some.
        return None if _names(error, names) else f'does not work: {error!r}'


def _names(error, names):
    return any(
        re.search(rf'(?<!\w){re.escape(name)}(?!\w)', str(error), re.IGNORECASE)
        for name in names
    )


def arguments(kind):
    """The names of the arguments of a class, without those that it hands on."""
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    handed_on = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [parameter.name for parameter in parameters if parameter.kind not in handed_on]


def optional(kind, name):
    """Whether an argument of a class may be None, as far as its annotation says."""
    hint = get_type_hints(kind.__init__).get(name)
    return type(None) in get_args(hint)
