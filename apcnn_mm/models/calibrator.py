"""When to believe an answer: calibrated probabilities, and a threshold for strangers.

Shape shorthand in this module:
    M: all classifiers of all stages that count
    N: images
    C: classes
"""

import math
from typing import Tuple

import torch
from torch import Tensor, nn

from ..arguments import check_choice, check_number

SCORES = ('max_prob', 'energy', 'disagreement')
# Beyond these there is no best temperature: all images are right, or they are no better
# than chance.
COLDEST, HOTTEST = 0.05, 20.0


class Calibrator(nn.Module):
    """The temperature of the probabilities, and when an image is of no known class.

    Both are buffers, which a checkpoint has with its weights. Those of a model that was
    never calibrated, or of a checkpoint without them, change nothing: the temperature is
    1, and all images are accepted. A training step resets them: they belong to the weights
    that it changes.

    The probabilities are ``softmax(z / T)`` of the mean logits z of all classifiers (`Guo
    et al. <https://arxiv.org/abs/1706.04599>`_). Novelty is the larger, the less an image
    looks like one of the known classes, by one of three scores:

    - 'max_prob': one minus the probability of the predicted class.
    - 'energy': ``-logsumexp(z)`` (`Liu et al. <https://arxiv.org/abs/2010.03759>`_).
    - 'disagreement': how much the classifiers say different things, the mean KL divergence
      of their probabilities from the mean of these (the Jensen-Shannon divergence, in
      nats). AP-CNN has one for each pyramid level and stage.

    Attributes:
        temperature (Tensor): (), T.
        threshold (Tensor): (), the novelty up to which images are accepted.
        score (Tensor): (), the index of the score in ``SCORES``.
    """

    def __init__(self):
        super().__init__()
        self.register_buffer('temperature', torch.ones(()))
        self.register_buffer('threshold', torch.full((), math.inf))
        self.register_buffer('score', torch.zeros((), dtype=torch.long))

    def forward(self, logits: Tensor) -> Tuple[Tensor, Tensor]:
        """Judge images.

        Args:
            logits (Tensor): Of each classifier, (M, N, C).

        Returns:
            tuple[Tensor, Tensor]: The novelty of each image, (N, ), and whether it is
            accepted, (N, ) bool.
        """
        # Not self.scores(logits)[self.score], for which a GPU would have to be waited for.
        novelty = self.scores(logits).index_select(0, self.score.view(1))[0]
        return novelty, self.accepts(novelty)

    def accepts(self, novelty: Tensor) -> Tensor:
        """Whether images count as ones of the known classes.

        Args:
            novelty (Tensor): (N, ) or ().

        Returns:
            Tensor: The same shape, bool. All of them where there is no threshold: it is
            infinite or, in a model that averages others (mmengine's ``EMAHook``), not a
            number.
        """
        return (novelty <= self.threshold) | self.threshold.isnan()

    def scores(self, logits: Tensor) -> Tensor:
        """The novelty of images by each of ``SCORES``.

        Args:
            logits (Tensor): Of each classifier, (M, N, C).

        Returns:
            Tensor: (3, N).
        """
        logits = logits.float()
        fused = logits.mean(dim=0)
        max_prob = 1 - (fused / self.temperature).softmax(dim=-1).amax(dim=-1)
        energy = -fused.logsumexp(dim=-1)
        log_probs = (logits / self.temperature).log_softmax(dim=-1)
        probs = log_probs.exp()
        mean = probs.mean(dim=0)
        # The entropy of the mean less the mean entropy; p log p is 0 for p = 0.
        tiny = torch.finfo(mean.dtype).tiny
        disagreement = -(mean * mean.clamp(min=tiny).log()).sum(dim=-1)
        disagreement = disagreement + (probs * log_probs).sum(dim=-1).mean(dim=0)
        return torch.stack([max_prob, energy, disagreement])

    def fit(
        self,
        logits: Tensor,
        labels: Tensor,
        score: str,
        accept: float = 0.95,
        coldest: float = COLDEST,
    ):
        """Set temperature and threshold by images that the model was not trained on.

        Args:
            logits (Tensor): Of each classifier, (M, N, C).
            labels (Tensor): Of known classes, (N, ).
            score (str): One of ``SCORES``.
            accept (float): The share of images of known classes to accept. Defaults to
                0.95.
            coldest (float): See :func:`fit_temperature`. Defaults to ``COLDEST``.

        Raises:
            ValueError: If the images are too few for this share.
        """
        check_choice('score', score, SCORES)
        index = SCORES.index(score)
        fused = logits.float().mean(dim=0)
        self.temperature.fill_(fit_temperature(fused, labels, coldest))
        self.threshold.fill_(fit_threshold(self.scores(logits)[index], accept))
        self.score.fill_(index)

    def reset(self):
        """Back to a model that was never calibrated; a GPU is not waited for."""
        self.temperature.fill_(1)
        self.threshold.fill_(math.inf)
        self.score.zero_()

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        for name, value in Calibrator().named_buffers():
            state_dict.setdefault(prefix + name, value)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def fit_temperature(logits: Tensor, labels: Tensor, coldest: float = COLDEST) -> float:
    """The temperature with the smallest cross-entropy (Guo et al., section 4.2).

    Args:
        logits (Tensor): (N, C).
        labels (Tensor): (N, ).
        coldest (float): The lowest temperature to believe in. Defaults to ``COLDEST``.

    Returns:
        float: The temperature, 1 where it is not between ``coldest`` and ``HOTTEST``.
    """
    logits = logits.double()
    right = logits.gather(1, labels[:, None])[:, 0]

    def slope(beta):
        """Of the cross-entropy by the inverse temperature, in which it is convex."""
        expected = ((beta * logits).softmax(dim=1) * logits).sum(dim=1)
        return (expected - right).mean()

    low, high = 1 / HOTTEST, 1 / coldest
    if slope(low) >= 0 or slope(high) <= 0:
        return 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if slope(middle) < 0:
            low = middle
        else:
            high = middle
    return 2 / (low + high)


def fit_threshold(novelty: Tensor, accept: float) -> float:
    """The threshold that accepts a share of the images of known classes.

    Of images as these, it accepts at least this share on average, however few there are
    (split conformal prediction): with n images it is not their quantile, but the
    ``ceil((n + 1) * accept)``-th of them in order.

    Args:
        novelty (Tensor): Of images of known classes, (N, ).
        accept (float): The share.

    Returns:
        float: The threshold.

    Raises:
        ValueError: If the images are too few.
    """
    check_number('accept', accept, above=0, below=1)
    rank = math.ceil((len(novelty) + 1) * accept - 1e-9)
    if rank > len(novelty):
        least = math.ceil(accept / (1 - accept) - 1e-9)
        raise ValueError(
            f'To accept {100 * accept:g} % of the images of known classes, at least '
            f'{least} of them are needed to find the threshold, not {len(novelty)}. Use '
            'more images, or accept fewer.'
        )
    # Halfway to the next one: in another batch, scores are rounded otherwise. Behind the
    # last one the next is as far away as the one before.
    values = novelty.sort().values
    values = torch.cat([values, 2 * values[-1:] - values[-2:][:1]])
    return values[rank - 1 : rank + 1].mean().item()
