"""Checks that a data set lies on the disk as it is expected to."""

import os
from typing import Dict


def check_layout(root: str, entries: Dict[str, str], dataset: str):
    """Raise one error that shows everything that is missing.

    Args:
        root (str): The data set's folder.
        entries (Dict[str, str]): What must be in it, with a word of explanation. Names
            that end in '/' are folders.
        dataset (str): The data set's name.

    Raises:
        FileNotFoundError: If an entry is missing.
    """
    root = os.path.abspath(root)
    missing = [
        name
        for name in entries
        if not (os.path.isdir if name.endswith('/') else os.path.isfile)(
            os.path.join(root, name)
        )
    ]
    if not missing:
        return
    width = max(map(len, entries))
    tree = '\n'.join(
        f'    {name:{width}}  {"MISSING" if name in missing else "found  "}  {text}'
        for name, text in entries.items()
    )
    raise FileNotFoundError(
        f'{dataset} is not complete. Expected:\n{root}/'
        f'{"" if os.path.isdir(root) else "  (this folder does not exist)"}\n{tree}\n'
        'Point to the right folder with --cfg-options data_root=/path/to/it'
    )
