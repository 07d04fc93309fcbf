"""Checks that a data set lies on the disk as it is expected to."""

import os
from typing import Dict, List

from mmengine import list_from_file


def check_layout(
    root: str, entries: Dict[str, str], dataset: str, *alternatives: Dict[str, str]
):
    """Raise one error that shows everything that is missing.

    Args:
        root (str): The data set's folder.
        entries (Dict[str, str]): What must be in it, with a word of explanation. Names
            that end in '/' are folders.
        dataset (str): The data set's name.
        *alternatives (Dict[str, str]): Other layouts that will do as well.

    Raises:
        FileNotFoundError: If an entry of every layout is missing.
    """
    root = os.path.abspath(root)
    layouts = [entries, *alternatives]
    missing = [
        [
            name
            for name in layout
            if not (os.path.isdir if name.endswith('/') else os.path.isfile)(
                os.path.join(root, name)
            )
        ]
        for layout in layouts
    ]
    if not all(missing):
        return
    width = max(len(name) for layout in layouts for name in layout)
    trees = [
        '\n'.join(
            f'    {name:{width}}  {"MISSING" if name in absent else "found  "}  {text}'
            for name, text in layout.items()
        )
        for layout, absent in zip(layouts, missing)
    ]
    raise FileNotFoundError(
        f'{dataset} is not complete. Expected:\n{root}/'
        f'{"" if os.path.isdir(root) else "  (this folder does not exist)"}\n'
        + '\nor\n'.join(trees)
        + '\nPoint to the right folder with --cfg-options data_root=/path/to/it'
    )


def read_numbers(file: str, columns: int) -> List[List[float]]:
    """Read a text file with the same number of numbers in each line; some may be empty.

    Args:
        file (str): The file.
        columns (int): The number of numbers.

    Returns:
        list[list[float]]: One list for each line.

    Raises:
        ValueError: If a line is not like that.
    """
    rows = []
    for i, line in enumerate(list_from_file(file)):
        if not line.strip():
            continue
        try:
            row = [float(word) for word in line.split()]
        except ValueError:
            row = []
        if len(row) != columns:
            raise ValueError(f'{file}, line {i + 1}: {line!r} is not {columns} numbers.')
        rows.append(row)
    return rows
