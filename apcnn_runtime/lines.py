"""What a prediction's JSON line tells."""

from typing import List, Optional, Sequence, Tuple

import numpy as np

STAGES = ('raw', 'refined')


def describe(
    image: Optional[str],
    size: Tuple[int, int],
    scores: np.ndarray,
    stages: dict,
    novelty: float,
    accepted: Optional[bool],
    rois: Sequence[dict],
    merged_box: Optional[Sequence[float]],
    classes: Optional[Sequence[str]],
    top_k: int,
) -> dict:
    """A prediction in plain numbers.

    Args:
        image (str | None): The path of the image.
        size (tuple[int, int]): Its width and height.
        scores (np.ndarray): Of each class, (C, ).
        stages (dict[str, np.ndarray]): The same of each stage that ran, by its name.
        novelty (float): The larger, the less the image looks like one of the classes.
        accepted (bool | None): Whether it counts as one. None without a threshold.
        rois (Sequence[dict]): Each with ``box``, ``level`` and ``score``, in pixels of the
            image.
        merged_box (Sequence[float] | None): The box around them.
        classes (Sequence[str] | None): The names of the classes.
        top_k (int): How many of the best classes to tell.

    Returns:
        dict: See ``APCNNInferencer.describe``.
    """
    boxes = [*(roi['box'] for roi in rois), *([] if merged_box is None else [merged_box])]
    numbers = [scores, *stages.values(), novelty, [roi['score'] for roi in rois], boxes]
    if not all(np.isfinite(values).all() for values in numbers):
        return dict(
            image=image,
            error='The scores of this image are not finite: the model is broken.',
        )

    width, height = size
    return dict(
        image=image,
        width=width,
        height=height,
        top=best(scores, classes, top_k),
        accepted=accepted,
        novelty=novelty,
        **{
            name: best(stages[name], classes, top_k) if name in stages else None
            for name in STAGES
        },
        rois=list(rois),
        merged_box=None if merged_box is None else list(merged_box),
        error=None,
    )


def best(scores: np.ndarray, classes: Optional[Sequence[str]], top_k: int) -> List[dict]:
    """The best classes, each with ``label``, ``name`` and ``score``."""
    labels = np.argsort(-scores, kind='stable')[:top_k].tolist()
    return [
        dict(label=i, name=classes[i] if classes else None, score=float(scores[i]))
        for i in labels
    ]
