"""Measures of answers: how many are right, and how far one can rely on them.

N is the number of pictures, C that of classes.
"""

from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from .answers import Answers, Evaluation


class Share(NamedTuple):
    """A share of pictures with its 95 % interval (Wilson, 1927)."""

    hits: int
    n: int

    @property
    def value(self) -> float:
        return self.hits / self.n

    @property
    def interval(self) -> Tuple[float, float]:
        return tuple(binomtest(self.hits, self.n).proportion_ci(method='wilson'))


class ClassMeasures(NamedTuple):
    """Measures of each class, (C, ) each; NaN where they are not defined.

    Attributes:
        n (np.ndarray): Number of its pictures.
        precision (np.ndarray): Share of the answers with this class that are right.
        recall (np.ndarray): Share of its pictures that are recognised.
        f1 (np.ndarray): The harmonic mean of the two.
    """

    n: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall of the classes that have pictures."""
        return float(self.recall[self.n > 0].mean())

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that have pictures."""
        return float(self.f1[self.n > 0].mean())


class Reliability(NamedTuple):
    """How often answers of a certain confidence are right (Guo et al., 2017).

    Attributes:
        n (np.ndarray): (bins, ), the pictures in each of the equal bins of confidence.
        confidence (np.ndarray): (bins, ), their mean confidence, NaN in an empty bin.
        accuracy (np.ndarray): (bins, ), the share of right answers, NaN in an empty bin.
    """

    n: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error (their Eq. 3)."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(gaps * self.n) / self.n.sum())


class RiskCoverage(NamedTuple):
    """The errors that are left when only the surest answers count.

    Geifman and El-Yaniv, "Selective classification for deep neural networks", 2017.

    Attributes:
        threshold (np.ndarray): (K, ), the confidences that there are, the highest first.
        coverage (np.ndarray): (K, ), the share of pictures with at least this confidence.
        risk (np.ndarray): (K, ), the share of wrong answers among them.
    """

    threshold: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray

    @property
    def area(self) -> float:
        """The area under the curve (AURC): the mean risk over all coverages."""
        return float((self.risk * np.diff(self.coverage, prepend=0)).sum())

    def at(self, coverage: float) -> int:
        """The index of the smallest coverage that reaches a wanted one."""
        return int(np.searchsorted(self.coverage, coverage - 1e-9))


class Agreement(NamedTuple):
    """Pictures by what the raw and the refined stage say, and the model's own answers.

    Attributes:
        text (str): What the stages say.
        n (int): The number of pictures.
        right (int): How many of them the model as a whole answers rightly.
    """

    text: str
    n: int
    right: int


class Acceptance(NamedTuple):
    """Pictures by whether they count as one of the classes.

    Attributes:
        text (str): Which pictures.
        share (Share): How many of all they are.
        right (Share, optional): How many of them are answered rightly, None if there are
            none.
        novelty (float): Their median novelty, NaN if there are none.
    """

    text: str
    share: Share
    right: Optional[Share]
    novelty: float


def measure_classes(labels: np.ndarray, answers: np.ndarray, classes: int) -> ClassMeasures:
    """Precision, recall and F1 of each class.

    Args:
        labels (np.ndarray): (N, ).
        answers (np.ndarray): (N, ), the predicted labels.
        classes (int): Their number, C.
    """
    precision, recall, f1, n = precision_recall_fscore_support(
        labels, answers, labels=range(classes), zero_division=np.nan
    )
    return ClassMeasures(n, precision, recall, f1)


def count_confusions(labels: np.ndarray, answers: np.ndarray, classes: int) -> np.ndarray:
    """The confusion matrix, (C, C): how many pictures of a row's class got a column's."""
    return confusion_matrix(labels, answers, labels=range(classes))


def worst_pairs(confusions: np.ndarray, most: int = 20) -> List[Tuple[int, int]]:
    """The pairs of classes that are mistaken for each other most often.

    Args:
        confusions (np.ndarray): (C, C).
        most (int): How many pairs. Defaults to 20.

    Returns:
        list[tuple[int, int]]: Most confusions first, where equal the larger share of the
        two classes' pictures. First of a pair is the class of which more are mistaken.
    """
    both = np.triu(confusions + confusions.T, 1)
    totals = confusions.sum(axis=1)
    rows, columns = both.nonzero()
    counts = both[rows, columns]
    shares = counts / (totals[rows] + totals[columns])
    order = np.lexsort((columns, rows, -shares, -counts))[:most]
    pairs = zip(rows[order].tolist(), columns[order].tolist())
    return [(a, b) if confusions[a, b] >= confusions[b, a] else (b, a) for a, b in pairs]


def measure_reliability(
    confidence: np.ndarray, correct: np.ndarray, bins: int = 15
) -> Reliability:
    """Compare confidence and accuracy in equal bins, closed on the right.

    Args:
        confidence (np.ndarray): (N, ), between 0 and 1.
        correct (np.ndarray): (N, ), whether the answer is right.
        bins (int): Their number. Defaults to 15, as Guo et al. have it.
    """
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    n = np.bincount(index, minlength=bins)
    sums = [np.bincount(index, values, bins) for values in (confidence, correct)]
    means = [np.divide(total, n, np.full(bins, np.nan), where=n > 0) for total in sums]
    return Reliability(n, *means)


def measure_risk(confidence: np.ndarray, correct: np.ndarray) -> RiskCoverage:
    """The risk-coverage curve. Pictures of equal confidence are taken together.

    Args:
        confidence (np.ndarray): (N, ).
        correct (np.ndarray): (N, ), whether the answer is right.
    """
    threshold, index = np.unique(-confidence, return_inverse=True)
    n = np.bincount(index).cumsum()
    errors = np.bincount(index, ~correct).cumsum()
    return RiskCoverage(-threshold, n / len(confidence), errors / n)


def compare_stages(evaluation: Evaluation) -> Tuple[Dict[str, Share], List[Agreement]]:
    """What the stages say, and where they disagree.

    Returns:
        tuple[dict[str, Share], list[Agreement]]: The accuracy of 'raw', 'refined' and
        'both', and the pictures by what the first two say; ({}, []) for a model with one
        stage.
    """
    if len(evaluation.stages) < 2:
        return {}, []
    labels = evaluation.labels
    answers = {**evaluation.stages, 'both': Answers.best(evaluation.scores)}
    right = {name: answer.labels == labels for name, answer in answers.items()}
    raw, refined = right['raw'], right['refined']
    same = answers['raw'].labels == answers['refined'].labels
    groups = {
        'both stages are right': raw & refined,
        'only the raw stage is right': raw & ~refined,
        'only the refined stage is right': refined & ~raw,
        'both are wrong with the same answer': ~raw & ~refined & same,
        'both are wrong with different answers': ~raw & ~refined & ~same,
    }
    accuracies = {name: Share(int(hits.sum()), len(labels)) for name, hits in right.items()}
    return accuracies, [
        Agreement(text, int(group.sum()), int(right['both'][group].sum()))
        for text, group in groups.items()
    ]


def measure_acceptance(evaluation: Evaluation) -> List[Acceptance]:
    """Whether the pictures that the model accepts are those that it knows.

    Returns:
        list[Acceptance]: The accepted pictures and the others; [] for a checkpoint without
        a threshold.
    """
    if evaluation.accepted is None:
        return []
    right = evaluation.scores.argmax(axis=1) == evaluation.labels
    groups = {'accepted': evaluation.accepted, 'not accepted': ~evaluation.accepted}
    return [
        Acceptance(
            text,
            Share(int(group.sum()), len(group)),
            Share(int(right[group].sum()), int(group.sum())) if group.any() else None,
            float(np.median(evaluation.novelty[group])) if group.any() else np.nan,
        )
        for text, group in groups.items()
    ]
