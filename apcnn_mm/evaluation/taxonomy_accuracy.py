"""How often the names on each level of a taxonomy are right."""

import os
from itertools import compress
from typing import List, Sequence, Union

import torch
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS

from apcnn_runtime.taxonomy import Taxonomy

from ..arguments import check_choice, check_number, check_type
from ..taxonomy import read_taxonomy
from .places import in_places


@METRICS.register_module()
class TaxonomyAccuracy(BaseMetric):
    """Accuracy on each rank of a taxonomy, and of the deepest names that are certain.

    All but the depth are in per cent:

    - ``taxonomy/accuracy_RANK``: how often the most probable name of the rank is the
      right one, of the images whose class has a name there. Probabilities of names are
      the sums of those of their classes.
    - ``taxonomy/rollup_answered``: share of the images that get a name at all, the deepest
      one whose probability reaches ``confidence``.
    - ``taxonomy/rollup_accuracy``: how often that name is right.
    - ``taxonomy/rollup_depth``: its mean rank, counted from the highest one, which is 1;
      no name is 0.

    Strangers are left out, see :class:`Calibration`.

    Args:
        taxonomy (str | Path | Taxonomy): The file, see :func:`read_taxonomy`, or what is
            read from it.
        data_root (str): The folder that the file's path counts from. Defaults to ''.
        confidence (float): The probability that a name must reach. Defaults to 0.8.
        collect_device (str): See :class:`BaseMetric`. Defaults to 'cpu'.

    Raises:
        FileNotFoundError: If there is no such file, as soon as the classes are known.
        ValueError: If it is not a taxonomy of the classes.
    """

    default_prefix = 'taxonomy'

    def __init__(
        self,
        taxonomy: Union[str, os.PathLike, Taxonomy],
        data_root: str = '',
        confidence: float = 0.8,
        collect_device: str = 'cpu',
    ):
        check_type('TaxonomyAccuracy.taxonomy', taxonomy, str, os.PathLike, Taxonomy)
        check_type('TaxonomyAccuracy.data_root', data_root, str, os.PathLike)
        check_number('TaxonomyAccuracy.confidence', confidence, above=0, maximum=1)
        check_choice('TaxonomyAccuracy.collect_device', collect_device, ('cpu', 'gpu'))
        super().__init__(collect_device=collect_device)
        self.file = self.taxonomy = None
        if isinstance(taxonomy, Taxonomy):
            self.taxonomy = taxonomy
        else:
            self.file = os.path.join(data_root, taxonomy)
        self.confidence = confidence

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, meta: dict):
        """mmengine sets this before the first batch."""
        self._dataset_meta = meta
        if self.file is not None:
            self.taxonomy = read_taxonomy(self.file, meta['classes'])

    def process(self, data_batch, data_samples: Sequence[dict]):
        """Keep what is right of each image."""
        known = [len(sample['gt_label']) > 0 for sample in data_samples]
        samples = list(compress(data_samples, known))
        if not samples:
            self.results += in_places([], known)
            return
        probs = torch.stack([sample['pred_score'] for sample in samples])
        probs = probs.float().cpu().numpy()
        labels = torch.cat([sample['gt_label'] for sample in samples]).cpu().numpy()
        ranks, names = self.taxonomy.ranks, self.taxonomy.names
        truths = {rank: self.taxonomy.labels(rank)[labels].tolist() for rank in ranks}
        best = {
            rank: scores.argmax(axis=1).tolist()
            for rank, scores in self.taxonomy.scores(probs).items()
        }
        results = []
        for i, answer in enumerate(self.taxonomy.rollup(probs, self.confidence)):
            # None where the class has no name of the rank.
            result = {
                rank: best[rank][i] == truths[rank][i] if truths[rank][i] >= 0 else None
                for rank in ranks
            }
            depth, right = 0, None
            if answer is not None:
                rank = answer['rank']
                depth = len(ranks) - ranks.index(rank)
                truth = truths[rank][i]
                right = truth >= 0 and names[rank][truth] == answer['name']
            results.append((result, depth, right))
        self.results += in_places(results, known)

    def compute_metrics(self, results: List[tuple]) -> dict:
        """The shares of all images."""
        results = [result for result in results if result is not None]
        if not results:
            return {}
        by_rank, depths, rollups = zip(*results)
        metrics = {
            f'accuracy_{rank}': _percent([result[rank] for result in by_rank])
            for rank in self.taxonomy.ranks
        }
        metrics['rollup_answered'] = _percent([depth > 0 for depth in depths])
        metrics['rollup_accuracy'] = _percent(rollups)
        metrics['rollup_depth'] = sum(depths) / len(depths)
        return {name: value for name, value in metrics.items() if value is not None}


def _percent(values):
    """Of those that are not None."""
    values = [value for value in values if value is not None]
    return 100 * sum(values) / len(values) if values else None
