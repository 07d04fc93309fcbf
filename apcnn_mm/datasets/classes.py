"""Names of classes, and the labels that go with them."""

import os
import unicodedata
from typing import List, Optional, Sequence, Union

from apcnn_runtime.files import read_lines


def to_nfc(name: str) -> str:
    """A name in Unicode's composed form; file systems write the same name differently."""
    return unicodedata.normalize('NFC', name)


def read_classes(classes: Union[str, Sequence[str], None]) -> Optional[List[str]]:
    """The names that the argument ``classes`` of a data set stands for.

    Args:
        classes (str | Sequence[str] | None): Names, or a text file with one in each line.

    Returns:
        list[str] | None: The names.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If it is something else.
    """
    if classes is None:
        return None
    if isinstance(classes, str):
        file = os.path.expanduser(classes)
        if not os.path.isfile(file):
            raise FileNotFoundError(
                f'classes: there is no file {os.path.abspath(file)}. Give a text file with '
                'one name in each line, or a list of names.'
            )
        classes = list(read_lines(file).values())
    if not isinstance(classes, Sequence) or not all(isinstance(c, str) for c in classes):
        raise TypeError(
            f'classes must be names, or a text file with one in each line, not {classes!r}.'
        )
    return [to_nfc(name) for name in classes]


def relabel(
    data_list: List[dict], names: Sequence[str], wanted: Sequence[str], where: str
) -> List[dict]:
    """Number the classes of samples in the order that is wanted.

    Args:
        data_list (list[dict]): The samples, changed in place.
        names (Sequence[str]): The names that ``gt_label`` counts.
        wanted (Sequence[str]): The same names in the order to count them.
        where (str): The data set's folder, for the error.

    Returns:
        list[dict]: The samples.

    Raises:
        ValueError: If the names are not the same.
    """
    names, wanted = [to_nfc(n) for n in names], [to_nfc(n) for n in wanted]
    if sorted(names) != sorted(wanted):
        raise ValueError(
            f'classes must be those of {os.path.abspath(where)}, in any order. Not there: '
            f'{_some(set(wanted) - set(names))}. Not given: '
            f'{_some(set(names) - set(wanted))}. There are {len(names)}, and '
            f'{len(wanted)} are given.'
        )
    numbers = {i: wanted.index(name) for i, name in enumerate(names)}
    for sample in data_list:
        # A number without a name is left for the check of the data set to find.
        sample['gt_label'] = numbers.get(sample['gt_label'], sample['gt_label'])
    return data_list


def _some(names):
    shown = sorted(names)[:5]
    return ', '.join(shown) + (', ...' if len(names) > 5 else '') or 'none'
