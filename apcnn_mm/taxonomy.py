"""Names on every level of a taxonomy: probabilities add up the tree.

Shape shorthand in this module:
    N: images
    C: classes
    K: names of a rank
"""

import csv
import os
from typing import Dict, List, Optional, Sequence

import torch
from torch import Tensor

from .arguments import check_number
from .datasets.classes import to_nfc


class Taxonomy:
    """A tree of names above the classes.

    It is read from a file such as::

        class,genus,family
        001.Black_footed_Albatross,Phoebastria,Diomedeidae
        031.Black_billed_Cuckoo,Coccyzus,Cuculidae

    The first line has the names of the ranks, the classes first and the highest rank last.
    A rank may be missing for some classes, as an empty cell.

    Args:
        file (str | Path): A CSV file in UTF-8. Semicolons or tabs will do, too, as
            spreadsheets write them.
        classes (Sequence[str]): The names of the classes, in the order of the labels.

    Attributes:
        ranks (list[str]): From the classes upwards.
        names (dict[str, list[str]]): The names of each rank, the classes in the order of
            the labels.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such table, if classes have no row or rows no class, or if
            a name stands under two others.
    """

    def __init__(self, file: str, classes: Sequence[str]):
        self.file = os.path.abspath(os.path.expanduser(file))
        if not os.path.isfile(self.file):
            raise FileNotFoundError(
                f'taxonomy: there is no file {self.file}. Give a table with the classes in '
                'its first column and the names above them in the others: '
                'class,genus,family'
            )
        self.ranks, rows = _read_table(self.file)
        lineages = self._by_class(rows, [to_nfc(name) for name in classes])
        self._check_parents(lineages)
        self.names: Dict[str, List[str]] = {self.ranks[0]: list(classes)}
        # The number of each class's name, -1 where it has none: (ranks, C).
        self._members = torch.full((len(self.ranks), len(classes)), -1)
        self._members[0] = torch.arange(len(classes))
        for i, rank in enumerate(self.ranks[1:], start=1):
            column = [lineage[i] for lineage in lineages]
            names = self.names[rank] = sorted({name for name in column if name})
            numbers = {name: number for number, name in enumerate(names)}
            self._members[i] = torch.tensor([numbers.get(name, -1) for name in column])

    def labels(self, rank: str) -> Tensor:
        """The name of each class at a rank.

        Args:
            rank (str): One of ``ranks``.

        Returns:
            Tensor: Indices in ``names[rank]``, -1 where it is missing, (C, ).
        """
        return self._members[self.ranks.index(rank)]

    def scores(self, probs: Tensor) -> Dict[str, Tensor]:
        """The probabilities of all names: the sums of those of their classes.

        Args:
            probs (Tensor): Of the classes, (N, C).

        Returns:
            dict[str, Tensor]: (N, K) for each rank. They add up to one where no class
            misses the rank.
        """
        scores = {}
        for rank in self.ranks:
            labels = self.labels(rank).to(probs.device)
            there = labels >= 0
            sums = probs.new_zeros(len(probs), len(self.names[rank]))
            scores[rank] = sums.index_add_(1, labels[there], probs[:, there])
        return scores

    def rollup(self, probs: Tensor, confidence: float = 0.8) -> List[Optional[dict]]:
        """The deepest name of each image that one can be sure of.

        Args:
            probs (Tensor): Of the classes, (N, C).
            confidence (float): The probability that the name must reach. Defaults to 0.8.

        Returns:
            list[dict | None]: ``rank``, ``name`` and ``score``; None where no name reaches
            it, not even one of the highest rank.
        """
        check_number('confidence', confidence, above=0, maximum=1)
        answers = [None] * len(probs)
        for rank, scores in reversed(self.scores(probs).items()):
            best, numbers = scores.max(dim=1)
            for i, (score, number) in enumerate(zip(best.tolist(), numbers.tolist())):
                # Sums of float32 may miss one by a little.
                if score >= confidence - 1e-6:
                    name = self.names[rank][number]
                    answers[i] = dict(rank=rank, name=name, score=score)
        return answers

    def _by_class(self, rows, classes):
        """The names of each class and above it, in the order of the labels."""
        by_class = {}
        for line, cells in rows.items():
            if cells[0] in by_class:
                raise ValueError(
                    f'{self.file}, line {line}: there is a row of {cells[0]!r} already.'
                )
            by_class[cells[0]] = cells
        without_row = [name for name in classes if name not in by_class]
        without_class = [name for name in by_class if name not in set(classes)]
        if without_row or without_class:
            raise ValueError(
                f'{self.file} must have one row for each class of the model. Classes '
                f'without a row: {_some(without_row)}. Rows without a class: '
                f'{_some(without_class)}. The first column must have the names that the '
                'model has for the classes, those of the folders for example.'
            )
        return [by_class[name] for name in classes]

    def _check_parents(self, lineages):
        parents = {}
        for cells in lineages:
            there = [(rank, name) for rank, name in zip(self.ranks, cells) if name]
            for node, parent in zip(there, [*there[1:], None]):
                other = parents.setdefault(node, parent)
                if other != parent:
                    above = ' and under '.join(map(_describe, (other, parent)))
                    raise ValueError(
                        f'{self.file}: {_describe(node)} stands under {above}. In a tree '
                        'each name has one place: correct the table, or give different '
                        'things different names.'
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
