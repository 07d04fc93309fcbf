"""The plots of a report, as SVG files."""

from typing import Dict, Tuple

import numpy as np
from matplotlib.figure import Figure

from .measures import Reliability, RiskCoverage

BLUE = 'tab:blue'


def plot_reliability(reliability: Reliability, path: str):
    """The reliability diagram, with the number of pictures below.

    Args:
        reliability (Reliability): The bins.
        path (str): The file to write.
    """
    figure = Figure(figsize=(4.6, 5), layout='constrained')
    axis, counts = figure.subplots(2, sharex=True, height_ratios=(4, 1))
    bins = len(reliability.n)
    centers = (np.arange(bins) + 0.5) / bins
    axis.bar(
        centers,
        reliability.accuracy,
        1 / bins,
        color=BLUE,
        edgecolor='white',
        label='right',
    )
    axis.plot(reliability.confidence, reliability.accuracy, 'o', color='black', ms=3)
    axis.plot([0, 1], [0, 1], '--', color='grey', label='as sure as right')
    axis.set(ylabel='share of right answers', xlim=(0, 1), ylim=(0, 1))
    axis.legend(loc='lower left')
    counts.bar(centers, reliability.n, 1 / bins, color='grey', edgecolor='white')
    counts.set(xlabel='confidence', ylabel='pictures')
    figure.savefig(path)


def plot_risk(curve: RiskCoverage, path: str):
    """The risk-coverage curve.

    Args:
        curve (RiskCoverage): The curve.
        path (str): The file to write.
    """
    figure = Figure(figsize=(4.6, 3.6), layout='constrained')
    axis = figure.subplots()
    # A line of some thousand points looks the same with fewer.
    shown = np.unique(np.linspace(0, len(curve.risk) - 1, 500).astype(int))
    axis.plot(curve.coverage[shown], curve.risk[shown], color=BLUE)
    axis.set(
        xlabel='coverage: the surest answers, as a share of all',
        ylabel='risk: share of wrong answers',
        xlim=(0, 1),
        ylim=(0, None),
    )
    axis.grid(alpha=0.3)
    figure.savefig(path)


def plot_training(curves: Dict[str, Tuple[np.ndarray, np.ndarray]], path: str):
    """The losses, and the validation results beside them.

    Args:
        curves (dict[str, tuple[np.ndarray, np.ndarray]]): Those of
            :func:`.training_log.read_curves`.
        path (str): The file to write.
    """
    groups = {'loss': {}}
    for name, curve in curves.items():
        # Localization has many measures on several scales; the page has the last values.
        if name.startswith(('loss', 'accuracy/')):
            groups.setdefault(name.split('/')[0].split('_')[0], {})[name] = curve
    groups = {name: group for name, group in groups.items() if group}
    figure = Figure(figsize=(4.6 * len(groups), 3.6), layout='constrained')
    for axis, group in zip(
        figure.subplots(1, len(groups), squeeze=False)[0], groups.values()
    ):
        for name, (x, y) in group.items():
            axis.plot(x, y, '.-', label=name)
        axis.set_xlabel('epoch')
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path)
