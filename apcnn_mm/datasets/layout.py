"""Checks that a data set lies on the disk as it is expected to."""

import os
from typing import Dict


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
