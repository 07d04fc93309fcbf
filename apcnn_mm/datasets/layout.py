"""Checks that a data set lies on the disk as it is expected to."""

import os
from typing import Dict, List, Optional

from mmengine.logging import MMLogger

from apcnn_runtime.files import (
    IMAGE_EXTENSIONS,
    FoundFiles,
    find_folders,
    is_hidden,
    read_lines,
)


def expand_root(data_root: str) -> str:
    """The folder of a data set, with the home folder in place of ``~``.

    Args:
        data_root (str): The argument ``data_root`` of a data set.

    Returns:
        str: The folder.

    Raises:
        TypeError: If it is no path.
    """
    if not isinstance(data_root, (str, os.PathLike)):
        raise TypeError(f"data_root must be a folder's path, not {data_root!r}.")
    return os.path.expanduser(os.fspath(data_root))


def check_layout(
    root: str,
    entries: Dict[str, str],
    dataset: str,
    *alternatives: Dict[str, str],
    way_out: str = '',
):
    """Raise one error that shows everything that is missing.

    Args:
        root (str): The data set's folder.
        entries (Dict[str, str]): What must be in it, with a word of explanation. Names
            that end in '/' are folders.
        dataset (str): The data set's name.
        *alternatives (Dict[str, str]): Other layouts that will do as well.
        way_out (str): What to do, where the folder is the right one. Defaults to ''.

    Raises:
        FileNotFoundError: If an entry of every layout is missing, or a folder holds only
            another one of its own name, as some archives do.
    """
    root = os.path.abspath(root)
    layouts = [entries, *alternatives]
    missing = [_missing(root, layout) for layout in layouts]
    if not all(missing):
        return
    width = max(len(name) for layout in layouts for name in layout)
    trees = [
        '\n'.join(
            f'    {name:{width}}  {"MISSING" if name in absent else "found  "}  '
            f'{absent.get(name) or text}'
            for name, text in layout.items()
        )
        for layout, absent in zip(layouts, missing)
    ]
    raise FileNotFoundError(
        f'{dataset} is not complete. Expected:\n{root}/'
        f'{"" if os.path.isdir(root) else "  (this folder does not exist)"}\n'
        + '\nor\n'.join(trees)
        + f'\n{_fitting_folder(root, layouts) or way_out or "Point to the right folder."}\n'
        'The folder is data_root in the config; the tools of apcnn_mm also take '
        '--cfg-options data_root=/path/to/it, and those of mmpretrain '
        '--cfg-options train_dataloader.dataset.data_root=/path/to/it (and the same for '
        'val and test).'
    )


def warn_of_unused(
    root: str, found: FoundFiles, others: Optional[Dict[str, List[str]]] = None
):
    """Count in warnings what lies in a folder of images and is not used.

    Args:
        root (str): The folder.
        found (FoundFiles): What lies in it.
        others (dict[str, list[str]], optional): What else is not used: paths or names by a
            text that follows their number. Defaults to None.
    """
    findings = {
        **(others or {}),
        'hidden files and folders, or files of the system, are not used': found.hidden,
        'files are not used, because they are no images by their names '
        f'({", ".join(IMAGE_EXTENSIONS)})': found.others,
        'paths are not what they seem (pipes, links to nowhere or in circles, folders '
        'that cannot be opened or have the name of an image)': found.unusable,
    }
    for text, paths in findings.items():
        if paths:
            MMLogger.get_current_instance().warning(
                f'{os.path.abspath(root)}: {len(paths)} {text}, such as {paths[0]}'
            )


def _missing(root, layout):
    """The missing entries, with an explanation where there is one."""
    missing = {}
    for name in layout:
        path = os.path.join(root, name)
        inner = os.path.join(path, os.path.basename(name.rstrip('/')))
        if not (os.path.isdir if name.endswith('/') else os.path.isfile)(path):
            missing[name] = ''
        elif os.path.isdir(inner) and all(
            is_hidden(entry) or entry == os.path.basename(inner)
            for entry in os.listdir(path)
        ):
            missing[name] = f'its content lies in {inner}: move it one level up'
    return missing


def _fitting_folder(root, layouts):
    """A hint at the folder inside or around the root that is the right one."""
    inside = find_folders(root) if os.path.isdir(root) else []
    for folder in [*(os.path.join(root, name) for name in inside), os.path.dirname(root)]:
        if not all(_missing(folder, layout) for layout in layouts):
            return f'This folder fits: {folder}'
    return ''


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
    for number, line in read_lines(file).items():
        try:
            row = [float(word) for word in line.split()]
        except ValueError:
            row = []
        if len(row) != columns:
            raise ValueError(f'{file}, line {number}: {line!r} is not {columns} numbers.')
        rows.append(row)
    return rows
