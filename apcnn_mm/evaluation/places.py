"""Results of some samples of a batch, in their places among all."""

from typing import Iterable, List, Sequence


def in_places(results: Iterable, measured: Sequence[bool]) -> List:
    """One entry for each sample of a batch.

    mmengine counts the results to leave out those of the samples that pad the last batch
    of a distributed test.

    Args:
        results (Iterable): Those of the samples that were measured, in their order.
        measured (Sequence[bool]): Whether each sample was.

    Returns:
        list: None for the others.
    """
    remaining = iter(results)
    return [next(remaining) if there else None for there in measured]
