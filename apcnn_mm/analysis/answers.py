"""The answers of a model to pictures with known labels.

Shape shorthand in this package:
    N: number of pictures
    C: number of classes
"""

import os
import os.path as osp
import sys
from typing import Dict, List, NamedTuple, Optional, Sequence

import numpy as np
import torch
from mmengine.utils import track_iter_progress
from mmpretrain.registry import DATASETS

from apcnn_runtime.files import IMAGE_EXTENSIONS, find_files

from ..apis import APCNNInferencer
from ..datasets.classes import to_nfc
from ..datasets.layout import warn_of_unused
from ..evaluation import ObjectLocalization, TaxonomyAccuracy


class Answers(NamedTuple):
    """The answers to pictures, and how sure they are.

    Attributes:
        labels (np.ndarray): (N, ).
        scores (np.ndarray): (N, ), the probability of each label.
    """

    labels: np.ndarray
    scores: np.ndarray

    @classmethod
    def best(cls, scores: np.ndarray) -> 'Answers':
        """The most probable classes of (N, C) probabilities."""
        labels = scores.argmax(axis=1)
        return cls(labels, np.take_along_axis(scores, labels[:, None], axis=1)[:, 0])


class Evaluation(NamedTuple):
    """Pictures, their labels and a model's predictions.

    Attributes:
        classes (list[str]): The C names of the classes.
        paths (list[str]): The N pictures that could be read.
        labels (np.ndarray): (N, ), their given labels.
        scores (np.ndarray): (N, C), the predicted probabilities.
        stages (dict[str, Answers]): What each stage alone says, by 'raw' and 'refined',
            but for the refined stage of a cascade, which does not see all pictures.
        localization (dict[str, float]): The measures of :class:`ObjectLocalization`, {}
            where there are no boxes of objects.
        unreadable (dict[str, str]): Why the other pictures could not be predicted.
        novelty (np.ndarray, optional): (N, ), how little each picture looks like one of the
            classes.
        accepted (np.ndarray, optional): (N, ), whether it counts as one of them, None for a
            checkpoint without a threshold.
        taxonomy (dict[str, float], optional): The measures of :class:`TaxonomyAccuracy`,
            None without a taxonomy.
    """

    classes: List[str]
    paths: List[str]
    labels: np.ndarray
    scores: np.ndarray
    stages: Dict[str, Answers]
    localization: Dict[str, float]
    unreadable: Dict[str, str]
    novelty: Optional[np.ndarray] = None
    accepted: Optional[np.ndarray] = None
    taxonomy: Optional[Dict[str, float]] = None


def split_samples(dataset: dict, classes: Optional[Sequence[str]] = None) -> List[dict]:
    """The pictures of a data set that have labels.

    Args:
        dataset (dict): The config of a data set.
        classes (Sequence[str], optional): The names of the model's classes. Defaults to
            None: it has none.

    Returns:
        list[dict]: With ``img_path``, ``gt_label`` and what else the data set knows.

    Raises:
        ValueError: If the data set counts other classes than the model, or has no
            pictures.
    """
    built = DATASETS.build(dataset)
    names = built.metainfo.get('classes')
    if classes and names and list(names) != list(classes):
        raise ValueError(
            f'The model has the classes {_some(classes)}, but {dataset["type"]} has '
            f'{_some(names)}, or another order. Use the config that the training left in '
            'its work directory.'
        )
    if not len(built):
        raise ValueError(f'{dataset["type"]} has no pictures.')
    samples = map(built.get_data_info, range(len(built)))
    return [sample for sample in samples if 'gt_label' in sample]


def class_folder_samples(root: str, classes: Optional[Sequence[str]]) -> List[dict]:
    """The pictures in ``root/CLASS/`` and their labels.

    Classes without a folder have no pictures; hidden files are left out.

    Args:
        root (str): The folder with one folder for each class.
        classes (Sequence[str] | None): The names of the model's classes.

    Returns:
        list[dict]: With ``img_path`` and ``gt_label``.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If the model has no names, a folder has none of them, or there are no
            pictures in the folders.
    """
    root = osp.abspath(root)
    if not osp.isdir(root):
        raise FileNotFoundError(f'There is no folder {root}.')
    if not classes:
        raise ValueError(
            f'The checkpoint has no names of classes, so that the folders of {root} cannot '
            'be told apart.'
        )
    labels = {to_nfc(name): label for label, name in enumerate(classes)}
    samples, unknown = [], set()
    found = find_files(root)
    warn_of_unused(root, found)
    for image in found.images:
        folder, *inside = image.split(os.sep, 1)
        if not inside or to_nfc(folder) not in labels:
            unknown.add(folder)
            continue
        path = osp.join(root, image)
        samples.append(dict(img_path=path, gt_label=labels[to_nfc(folder)]))
    if unknown:
        raise ValueError(
            f'{root} has {_some(sorted(unknown))}, but the classes of the model are '
            f'{_some(classes)}. Rename them, or move them out.'
        )
    if not samples:
        raise ValueError(
            f'There are no pictures in class folders of {root}. Expected is '
            f'CLASS/ANY_NAME.jpg (or {", ".join(IMAGE_EXTENSIONS[1:])}).'
        )
    return samples


def evaluate(
    inferencer: APCNNInferencer,
    samples: Sequence[dict],
    batch_size: int = 16,
    num_workers: int = 0,
) -> Evaluation:
    """Predict pictures with known labels.

    Args:
        inferencer (APCNNInferencer): The model with its test pipeline.
        samples (Sequence[dict]): The pictures, each with ``img_path``, ``gt_label`` and,
            where it is known, the ``object_box`` in pixels of the picture.
        batch_size (int): Batch size. Defaults to 16.
        num_workers (int): Processes that read images. Defaults to 0: this one.

    Returns:
        Evaluation: The predictions.

    Raises:
        ValueError: If no picture could be predicted.
    """
    localization = ObjectLocalization(roi_generator=inferencer.model.roi_generator)
    classes = list(inferencer.classes or map(str, range(inferencer.model.head.num_classes)))
    ranks = None
    if inferencer.taxonomy is not None:
        ranks = TaxonomyAccuracy(inferencer.taxonomy, confidence=inferencer.confidence)
    paths, labels, scores, unreadable = [], [], [], {}
    novelty, accepted = [], []
    stages = {name: [] for name in inferencer.stage_names}
    stream = inferencer.stream([s['img_path'] for s in samples], batch_size, num_workers)
    for sample, (path, outcome) in zip(
        samples, track_iter_progress((stream, len(samples)), file=sys.stderr)
    ):
        if not isinstance(outcome, str) and not torch.isfinite(outcome.pred_score).all():
            outcome = 'The scores are not finite: the model is broken.'
        if isinstance(outcome, str):
            unreadable[path] = outcome
            continue
        paths.append(path)
        labels.append(int(sample['gt_label']))
        scores.append(outcome.pred_score.float().cpu().numpy())
        novelty.append(float(outcome.novelty))
        accepted.append(bool(outcome.accepted))
        if ranks is not None:
            label = torch.tensor([labels[-1]])
            ranks.process(None, [dict(pred_score=outcome.pred_score, gt_label=label)])
        for name, stage in zip(stages, outcome.stage_scores.float().cpu()):
            stages[name].append((int(stage.argmax()), float(stage.max())))
        if 'object_box' in sample:
            outcome.set_metainfo(dict(object_box=sample['object_box']))
            localization.process(None, [outcome.to_dict()])
    if not paths:
        path, error = next(iter(unreadable.items()))
        raise ValueError(
            f'None of the {len(samples)} pictures could be predicted, such as {path}: '
            f'{error}'
        )
    return Evaluation(
        classes,
        paths,
        np.array(labels),
        np.stack(scores),
        {
            name: Answers(*map(np.array, zip(*best)))
            for name, best in stages.items()
            if len(best) == len(paths)
        },
        localization.compute_metrics(localization.results),
        unreadable,
        np.array(novelty),
        np.array(accepted) if inferencer.has_threshold else None,
        ranks.compute_metrics(ranks.results) if ranks is not None else None,
    )


def join(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Put the predictions of models for different pictures together.

    Args:
        evaluations (Sequence[Evaluation]): Of the same classes.

    Returns:
        Evaluation: Without stages and localization, which are those of one model.
    """
    return Evaluation(
        evaluations[0].classes,
        [path for evaluation in evaluations for path in evaluation.paths],
        np.concatenate([evaluation.labels for evaluation in evaluations]),
        np.concatenate([evaluation.scores for evaluation in evaluations]),
        {},
        {},
        {k: v for evaluation in evaluations for k, v in evaluation.unreadable.items()},
    )


def _some(names):
    shown = ', '.join(list(names)[:5])
    return shown + (f', ... ({len(names)} in all)' if len(names) > 5 else '')
