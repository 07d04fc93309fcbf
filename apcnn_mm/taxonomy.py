"""Reading taxonomies."""

import csv
import os
from typing import Sequence, Union

from apcnn_runtime.taxonomy import Taxonomy

from .datasets.classes import to_nfc


def read_taxonomy(file: Union[str, os.PathLike], classes: Sequence[str]) -> Taxonomy:
    """Read a tree of names above the classes.

    The file is such as::

        class,genus,family
        001.Black_footed_Albatross,Phoebastria,Diomedeidae
        031.Black_billed_Cuckoo,Coccyzus,Cuculidae

    The first line has the names of the ranks, the classes first and the highest rank last.
    A rank may be missing for some classes, as an empty cell.

    Args:
        file (str | Path): A CSV file in UTF-8. Semicolons or tabs will do, too, as
            spreadsheets write them.
        classes (Sequence[str]): The names of the classes, in the order of the labels.

    Returns:
        Taxonomy: The tree.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such table, if classes have no row or rows no class, or if
            a name stands under two others.
    """
    file = os.path.abspath(os.path.expanduser(file))
    if not os.path.isfile(file):
        raise FileNotFoundError(
            f'taxonomy: there is no file {file}. Give a table with the classes in its '
            'first column and the names above them in the others: class,genus,family'
        )
    ranks, rows = _read_table(file)
    lineages = _by_class(file, rows, [to_nfc(name) for name in classes])
    _check_parents(file, ranks, lineages)
    names = zip(classes, lineages)  # the classes as the model has them
    return Taxonomy(ranks, [[name, *above] for name, (_, *above) in names])


def _by_class(file, rows, classes):
    """The names of each class and above it, in the order of the labels."""
    by_class = {}
    for line, cells in rows.items():
        if cells[0] in by_class:
            raise ValueError(
                f'{file}, line {line}: there is a row of {cells[0]!r} already.'
            )
        by_class[cells[0]] = cells
    without_row = [name for name in classes if name not in by_class]
    without_class = [name for name in by_class if name not in set(classes)]
    if without_row or without_class:
        raise ValueError(
            f'{file} must have one row for each class of the model. Classes without a row: '
            f'{_some(without_row)}. Rows without a class: {_some(without_class)}. The '
            'first column must have the names that the model has for the classes, those of '
            'the folders for example.'
        )
    return [by_class[name] for name in classes]


def _check_parents(file, ranks, lineages):
    parents = {}
    for cells in lineages:
        there = [(rank, name) for rank, name in zip(ranks, cells) if name]
        for node, parent in zip(there, [*there[1:], None]):
            other = parents.setdefault(node, parent)
            if other != parent:
                above = ' and under '.join(map(_describe, (other, parent)))
                raise ValueError(
                    f'{file}: {_describe(node)} stands under {above}. In a tree each name '
                    'has one place: correct the table, or give different things different '
                    'names.'
                )


def _read_table(file):
    """The ranks, and the cells of each line, by its number."""
    try:
        with open(file, encoding='utf-8-sig', newline='') as stream:
            text = to_nfc(stream.read())
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{file} is not a text file in UTF-8 ({error}). Save it as CSV in UTF-8.'
        ) from error
    header = text.split('\n', 1)[0]
    reader = csv.reader(text.splitlines(), delimiter=max(',;\t', key=header.count))
    table = {}
    for cells in reader:
        cells = [cell.strip() for cell in cells]
        if any(cells):
            table[reader.line_num] = cells
    if not table:
        raise ValueError(f'{file} is empty.')
    first, *others = table
    ranks = table.pop(first)
    if len(ranks) < 2 or not all(ranks) or len(set(ranks)) < len(ranks):
        raise ValueError(
            f'{file}, line {first}: {ranks} must be the names of the ranks, two or more, '
            'all different and the classes first, such as class,genus,family'
        )
    for rank, *names in zip(ranks, *table.values()):
        if table and not any(names):
            raise ValueError(
                f'{file}: no line has a name in the column {rank}. Leave that column out.'
            )
    for line in others:
        if len(table[line]) != len(ranks):
            raise ValueError(
                f'{file}, line {line}: {table[line]} must have {len(ranks)} cells, one for '
                f'each of {ranks}. Leave the cell of a missing rank empty.'
            )
        if not table[line][0]:
            raise ValueError(f'{file}, line {line}: {table[line]} has no class.')
    return ranks, table


def _describe(node):
    return 'nothing' if node is None else f'the {node[0]} {node[1]}'


def _some(names):
    shown = ', '.join(map(repr, names[:5]))
    return shown + (f', ... ({len(names)})' if len(names) > 5 else '') or 'none'
