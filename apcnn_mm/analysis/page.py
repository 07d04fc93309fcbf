"""The pages of a report: HTML that opens from the disk, with its pictures beside it."""

import math
import os
import os.path as osp
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from ..visualization.names import as_text
from .answers import Answers, Evaluation
from .labels import NearPair, Suspect
from .measures import (
    Share,
    compare_stages,
    count_confusions,
    measure_acceptance,
    measure_classes,
    measure_reliability,
    measure_risk,
    worst_pairs,
)
from .pictures import Draw
from .plots import plot_reliability, plot_risk, plot_training

EXAMPLES = 3  # pictures of each class of a pair
DISAGREEMENTS = 12  # pictures about which the stages disagree
SUSPECTS = 100
COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)
UNREADABLE = 100


class SplitPicture(NamedTuple):
    """A picture of one of several splits.

    Attributes:
        path (str): The file.
        split (str): The name of its split.
        label (str): The name of its class.
    """

    path: str
    split: str
    label: str


class Gallery:
    """Pictures beside a page, each drawn once.

    Args:
        folder (str): The folder of the page.
        prefix (str): What the names of the files begin with.
        draw (Callable[[str], np.ndarray]): From a path to (H, W, 3), RGB.
    """

    def __init__(self, folder: str, prefix: str, draw: Draw):
        self.folder = folder
        self.prefix = prefix
        self.draw = draw
        self.pictures = {}
        os.makedirs(osp.join(folder, 'pictures'), exist_ok=True)

    def add(self, path: str) -> dict:
        """What a page shows of a picture: ``src``, ``width``, ``height`` and ``path``."""
        if path not in self.pictures:
            image = Image.fromarray(self.draw(path))
            src = f'pictures/{self.prefix}_{len(self.pictures):04d}.jpg'
            image.save(osp.join(self.folder, src), quality=85)
            width, height = image.size
            self.pictures[path] = dict(
                src=src, width=width, height=height, path=as_text(path)
            )
        return self.pictures[path]


def write_report(
    folder: str,
    evaluation: Evaluation,
    draw: Draw,
    curves: Dict[str, Tuple[np.ndarray, np.ndarray]],
    facts: Dict[str, str],
    has_labels: bool = False,
):
    """Write ``index.html`` and its pictures.

    Its size depends on the number of classes, and hardly on that of the pictures.

    Args:
        folder (str): The folder to write into.
        evaluation (Evaluation): The answers.
        draw (Callable[[str], np.ndarray]): Draws a picture, see :mod:`.pictures`.
        curves (dict[str, tuple[np.ndarray, np.ndarray]]): Of the training, see
            :func:`.training_log.read_curves`.
        facts (dict[str, str]): What was evaluated, in words.
        has_labels (bool): Whether there is a page of labels to link to. Defaults to
            False.
    """
    gallery = Gallery(folder, 'example', draw)
    names = [as_text(name) for name in evaluation.classes]
    answers = Answers.best(evaluation.scores)
    correct = answers.labels == evaluation.labels
    measures = measure_classes(evaluation.labels, answers.labels, len(names))
    confusions = count_confusions(evaluation.labels, answers.labels, len(names))
    reliability = measure_reliability(answers.scores, correct)
    risk = measure_risk(answers.scores, correct)
    plot_reliability(reliability, osp.join(folder, 'pictures', 'reliability.svg'))
    plot_risk(risk, osp.join(folder, 'pictures', 'risk.svg'))
    if curves:
        plot_training(curves, osp.join(folder, 'pictures', 'training.svg'))
    stages, agreements = compare_stages(evaluation)
    points = [risk.at(coverage) for coverage in COVERAGES]
    cells = zip(*confusions.nonzero(), confusions[confusions.nonzero()])
    _write(
        folder,
        'index.html',
        facts={name: as_text(value) for name, value in facts.items()},
        has_labels=has_labels,
        names=names,
        accuracy=Share(int(correct.sum()), len(correct)),
        measures=measures,
        classes=_class_rows(names, measures, confusions),
        matrix=dict(
            classes=names, cells=[[int(value) for value in cell] for cell in cells]
        ),
        pairs=[
            _describe_pair(pair, names, evaluation, answers, confusions, gallery)
            for pair in worst_pairs(confusions)
        ],
        stages=stages,
        agreements=agreements,
        disagreements=_disagreements(names, evaluation, answers, gallery),
        reliability=reliability,
        risk=risk,
        points=[(risk.coverage[i], 1 - risk.risk[i], risk.threshold[i]) for i in points],
        acceptance=measure_acceptance(evaluation),
        taxonomy=evaluation.taxonomy,
        localization=evaluation.localization,
        curves={name: y for name, (_, y) in curves.items()},
        unreadable=[
            (as_text(path), as_text(error))
            for path, error in list(evaluation.unreadable.items())[:UNREADABLE]
        ],
        num_unreadable=len(evaluation.unreadable),
    )


def write_labels(
    folder: str,
    evaluation: Evaluation,
    suspects: Sequence[Suspect],
    folds: Optional[int],
    splits: Sequence[SplitPicture],
    pairs: Sequence[NearPair],
    num_pairs: int,
    draw: Draw,
    problems: Sequence[str] = (),
):
    """Write ``labels.html`` and its pictures.

    Args:
        folder (str): The folder to write into.
        evaluation (Evaluation): The answers to the training pictures.
        suspects (Sequence[Suspect]): Those whose labels may be wrong.
        folds (int | None): The number of models of a cross-validation that gave the
            answers, or None for one model that has seen the labels.
        splits (Sequence[SplitPicture]): The pictures of all splits.
        pairs (Sequence[NearPair]): Of these, the nearest in different splits.
        num_pairs (int): How many such pairs there are.
        draw (Callable[[str], np.ndarray]): Draws a picture, see :mod:`.pictures`.
        problems (Sequence[str]): Why other splits could not be read. Defaults to ().
    """
    gallery = Gallery(folder, 'label', draw)
    names = [as_text(name) for name in evaluation.classes]
    rows = []
    for index, suggestion in suspects[:SUSPECTS]:
        label = evaluation.labels[index]
        rows.append(
            dict(
                picture=gallery.add(evaluation.paths[index]),
                label=names[label],
                score=evaluation.scores[index, label],
                suggestion=names[suggestion],
                suggestion_score=evaluation.scores[index, suggestion],
            )
        )
    _write(
        folder,
        'labels.html',
        n=len(evaluation.paths),
        num_unreadable=len(evaluation.unreadable),
        num_suspects=len(suspects),
        suspects=rows,
        folds=folds,
        sizes={name: sum(p.split == name for p in splits) for name in _splits(splits)},
        num_pairs=num_pairs,
        pairs=[
            dict(
                distance=pair.distance,
                sides=[
                    dict(
                        picture=gallery.add(splits[i].path),
                        split=splits[i].split,
                        label=as_text(splits[i].label),
                    )
                    for i in (pair.first, pair.second)
                ],
            )
            for pair in pairs
        ],
        problems=[as_text(problem) for problem in problems],
    )


def _write(folder, name, **context):
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['percent'] = _percent
    environment.filters['plain'] = lambda value: '' if math.isnan(value) else float(value)
    page = environment.get_template(name).render(context)
    with open(osp.join(folder, name), 'w', encoding='utf-8') as file:
        file.write(page)


def _percent(value):
    return '–' if math.isnan(value) else f'{100 * value:.1f} %'


def _splits(pictures) -> List[str]:
    return list(dict.fromkeys(picture.split for picture in pictures))


def _class_rows(names, measures, confusions):
    """One row for each class, the one with most trouble first."""
    wrong = confusions - np.diag(confusions.diagonal())
    rows = [
        dict(
            label=label,
            name=name,
            n=int(n),
            precision=precision,
            recall=recall,
            f1=f1,
            mistaken=int(wrong[label].argmax()),
            mistakes=int(wrong[label].max()),
        )
        for label, (name, n, precision, recall, f1) in enumerate(zip(names, *measures))
    ]
    # Classes without pictures last, of equal ones first that with more pictures.
    return sorted(
        rows, key=lambda row: (row['n'] == 0, np.nan_to_num(row['f1']), -row['n'])
    )


def _describe_pair(pair, names, evaluation, answers, confusions, gallery):
    sides = []
    for own, other in (pair, pair[::-1]):
        cards = []
        # Those that are mistaken, then those that are not; the surest first.
        for answer in (other, own):
            (found,) = ((evaluation.labels == own) & (answers.labels == answer)).nonzero()
            for i in found[np.argsort(-answers.scores[found], kind='stable')]:
                cards.append((int(i), answer == own))
        sides.append(
            dict(
                label=own,
                name=names[own],
                n=int(confusions[own].sum()),
                other=names[other],
                mistakes=int(confusions[own, other]),
                cards=[
                    dict(
                        picture=gallery.add(evaluation.paths[i]),
                        right=right,
                        score=answers.scores[i],
                    )
                    for i, right in cards[:EXAMPLES]
                ],
            )
        )
    return sides


def _disagreements(names, evaluation, answers, gallery):
    """The pictures about which the stages disagree, the surest first."""
    if len(evaluation.stages) < 2:
        return []
    raw, refined = evaluation.stages['raw'], evaluation.stages['refined']
    (found,) = (raw.labels != refined.labels).nonzero()
    sureness = np.minimum(raw.scores, refined.scores)[found]
    order = found[np.argsort(-sureness, kind='stable')]
    said = {'raw': raw, 'refined': refined, 'both': answers}
    return [
        dict(
            picture=gallery.add(evaluation.paths[i]),
            label=names[evaluation.labels[i]],
            answers=[
                dict(
                    stage=stage,
                    name=names[answer.labels[i]],
                    score=answer.scores[i],
                    right=answer.labels[i] == evaluation.labels[i],
                )
                for stage, answer in said.items()
            ],
        )
        for i in order[:DISAGREEMENTS]
    ]
