"""Names on every level of a taxonomy: probabilities add up the tree.

Shape shorthand in this module:
    N: images
    C: classes
    K: names of a rank
"""

from numbers import Real
from typing import Dict, List, Optional, Sequence

import numpy as np

from .lines import best


class Taxonomy:
    """A tree of names above the classes.

    Args:
        ranks (Sequence[str]): The names of the ranks, the classes first and the highest
            rank last.
        lineages (Sequence[Sequence[str]]): The names of each class and above it, in the
            order of the labels; '' where a rank is missing.

    Attributes:
        ranks (list[str]): As given.
        lineages (list[list[str]]): As given.
        names (dict[str, list[str]]): The names of each rank, the classes in the order of
            the labels.
    """

    def __init__(self, ranks: Sequence[str], lineages: Sequence[Sequence[str]]):
        self.ranks = list(ranks)
        self.lineages = [list(lineage) for lineage in lineages]
        self.names: Dict[str, List[str]] = {}
        self._labels, self._order, self._starts = {}, {}, {}
        for rank, column in zip(self.ranks, zip(*self.lineages)):
            is_class = rank == self.ranks[0]
            names = list(column) if is_class else sorted({name for name in column if name})
            numbers = {name: number for number, name in enumerate(names)}
            self.names[rank] = names
            labels = np.array([numbers.get(name, -1) for name in column])
            # The classes of each name, one name after the other.
            order = labels.argsort(kind='stable')[np.sum(labels < 0) :]
            self._labels[rank], self._order[rank] = labels, order
            self._starts[rank] = np.searchsorted(labels[order], np.arange(len(names)))

    def labels(self, rank: str) -> np.ndarray:
        """The name of each class at a rank.

        Args:
            rank (str): One of ``ranks``.

        Returns:
            np.ndarray: Indices in ``names[rank]``, -1 where it is missing, (C, ).
        """
        return self._labels[rank]

    def scores(self, probs: np.ndarray) -> Dict[str, np.ndarray]:
        """The probabilities of all names: the sums of those of their classes.

        Args:
            probs (np.ndarray): Of the classes, (N, C).

        Returns:
            dict[str, np.ndarray]: (N, K) for each rank. They add up to one where no class
            misses the rank.
        """
        return {
            rank: np.add.reduceat(probs[:, order], self._starts[rank], axis=1)
            for rank, order in self._order.items()
        }

    def rollup(self, probs: np.ndarray, confidence: float = 0.8) -> List[Optional[dict]]:
        """The deepest name of each image that one can be sure of.

        Args:
            probs (np.ndarray): Of the classes, (N, C).
            confidence (float): The probability that the name must reach. Defaults to 0.8.

        Returns:
            list[dict | None]: ``rank``, ``name`` and ``score``; None where no name reaches
            it, not even one of the highest rank.

        Raises:
            ValueError: If the confidence is no probability above 0.
        """
        if not isinstance(confidence, Real) or not 0 < confidence <= 1:
            raise ValueError(
                f'confidence must be above 0 and at most 1, but got {confidence!r}.'
            )
        answers = [None] * len(probs)
        for rank, scores in reversed(self.scores(probs).items()):
            for i, number in enumerate(scores.argmax(axis=1)):
                score = float(scores[i, number])
                # Sums of float32 may miss one by a little.
                if score >= confidence - 1e-6:
                    name = self.names[rank][number]
                    answers[i] = dict(rank=rank, name=name, score=score)
        return answers

    def describe(self, probs: np.ndarray, confidence: float, top_k: int) -> dict:
        """What a prediction's line tells of the names.

        Args:
            probs (np.ndarray): Of the classes, (C, ).
            confidence (float): The probability that the name of the roll-up must reach.
            top_k (int): How many of the best names of each rank to tell.

        Returns:
            dict: ``rollup``, see :meth:`rollup`, and ``ranks``, the best names of each.
        """
        (rollup,) = self.rollup(probs[None], confidence)
        ranks = {
            rank: best(scores[0], self.names[rank], top_k)
            for rank, scores in self.scores(probs[None]).items()
        }
        return dict(rollup=rollup, ranks=ranks)
