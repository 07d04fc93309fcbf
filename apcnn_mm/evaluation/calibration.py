"""How far probabilities can be trusted, and how well strangers are told apart."""

from typing import List, Sequence

import torch
from mmengine.evaluator import BaseMetric
from mmpretrain.registry import METRICS
from torch import Tensor

from ..arguments import check_choice, check_number

KNOWN_ACCEPTED = 0.95


@METRICS.register_module()
class Calibration(BaseMetric):
    """Calibration of the probabilities and, where there are strangers, their detection.

    Strangers are samples with an empty label, images of none of the classes, such as those
    of :class:`Strangers`, joined to a data set of the classes::

        dict(
            type='ConcatDataset',
            ignore_keys='classes',
            datasets=[
                dict(type='ClassFolders', ...),
                dict(type='Strangers', data_root=..., pipeline=test_pipeline),
            ],
        )

    Of the known classes:

    - ``calibration/top1``: accuracy, in per cent.
    - ``calibration/ECE``: expected calibration error in per cent, see
      :func:`expected_calibration_error`.
    - ``calibration/NLL``: mean negative log-likelihood, in nats.
    - ``calibration/accepted``: share of the images that are accepted, in per cent.
    - ``calibration/top1_accepted``: accuracy on these.

    Of strangers against them, by the novelty of the predictions or, where they have none,
    by one minus the largest probability:

    - ``calibration/AUROC``: how often a stranger is more novel than an image of a known
      class, in per cent; 50 is chance.
    - ``calibration/FPR95``: share of the strangers below the novelty up to which 95 % of
      the known are, in per cent.
    - ``calibration/accepted_strangers``: share of the strangers that are accepted, in per
      cent.

    Predictions without ``accepted`` have no shares of accepted images.

    Args:
        bins (int): Bins of the calibration error. Defaults to 15.
        collect_device (str): See :class:`BaseMetric`. Defaults to 'cpu'.
    """

    default_prefix = 'calibration'

    def __init__(self, bins: int = 15, collect_device: str = 'cpu'):
        check_number('Calibration.bins', bins, minimum=1, integer=True)
        check_choice('Calibration.collect_device', collect_device, ('cpu', 'gpu'))
        super().__init__(collect_device=collect_device)
        self.bins = bins

    def process(self, data_batch, data_samples: Sequence[dict]):
        """Keep a few numbers of each image."""
        for sample in data_samples:
            scores = sample['pred_score'].float().cpu()
            confidence, predicted = scores.max(dim=0)
            result = dict(
                confidence=confidence.item(),
                novelty=float(sample.get('novelty', 1 - confidence)),
            )
            if 'accepted' in sample:
                result['accepted'] = float(sample['accepted'])
            if len(sample['gt_label']):
                label = int(sample['gt_label'])
                result['correct'] = float(predicted == label)
                # A probability may be zero in float32.
                smallest = torch.finfo(scores.dtype).tiny
                result['nll'] = -scores[label].clamp(min=smallest).log().item()
            self.results.append(result)

    def compute_metrics(self, results: List[dict]) -> dict:
        """The measures over all images.

        Raises:
            ValueError: If no image is one of a known class.
        """
        known = _columns([result for result in results if 'correct' in result])
        strangers = _columns([result for result in results if 'correct' not in result])
        if not known:
            raise ValueError('Calibration needs images of known classes.')
        correct = known['correct']
        metrics = {
            'top1': 100 * correct.mean(),
            'ECE': 100
            * expected_calibration_error(known['confidence'], correct, self.bins),
            'NLL': known['nll'].mean(),
        }
        if 'accepted' in known:
            accepted = known['accepted']
            metrics['accepted'] = 100 * accepted.mean()
            if accepted.any():
                metrics['top1_accepted'] = 100 * correct[accepted > 0].mean()
        if strangers:
            metrics['AUROC'] = 100 * auroc(strangers['novelty'], known['novelty'])
            metrics['FPR95'] = 100 * share_below(
                strangers['novelty'], known['novelty'], KNOWN_ACCEPTED
            )
            if 'accepted' in strangers:
                metrics['accepted_strangers'] = 100 * strangers['accepted'].mean()
        return {name: float(value) for name, value in metrics.items()}


def expected_calibration_error(confidence: Tensor, correct: Tensor, bins: int) -> Tensor:
    """How far confidence is from accuracy: the mean distance over bins of confidence.

    `Guo et al. <https://arxiv.org/abs/1706.04599>`_, Eq. 3: bins have equal widths, and
    weigh as many images as they have.

    Args:
        confidence (Tensor): Probability of the predicted class, (N, ).
        correct (Tensor): 1 where it is the right one, else 0, (N, ).
        bins (int): Number of bins.

    Returns:
        Tensor: (), from 0 to 1.
    """
    numbers = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gaps = torch.zeros(bins, dtype=torch.double)
    gaps.index_add_(0, numbers, (confidence - correct).double())
    return gaps.abs().sum() / len(confidence)


def auroc(positive: Tensor, negative: Tensor) -> Tensor:
    """How often a positive value is above a negative one; equal ones count one half.

    This is the area under the ROC curve.

    Args:
        positive (Tensor): (P, ).
        negative (Tensor): (N, ).

    Returns:
        Tensor: (), from 0 to 1.
    """
    ordered = negative.sort().values
    below = torch.searchsorted(ordered, positive)
    up_to = torch.searchsorted(ordered, positive, right=True)
    return (below + up_to).double().mean() / (2 * len(negative))


def share_below(positive: Tensor, negative: Tensor, share: float) -> Tensor:
    """The share of positive values up to the one that a share of the negative ones reach.

    Args:
        positive (Tensor): (P, ).
        negative (Tensor): (N, ).
        share (float): Of the negative values.

    Returns:
        Tensor: (), from 0 to 1.
    """
    threshold = torch.quantile(negative.double(), share, interpolation='higher')
    return (positive <= threshold).double().mean()


def _columns(results):
    keys = results[0] if results else ()
    return {key: torch.tensor([result[key] for result in results]) for key in keys}
