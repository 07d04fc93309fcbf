"""Boxes between the input of the network and the original image.

Boxes are (x1, y1, x2, y2), (..., 4), in pixels. Samples are :class:`DataSample` or dicts
with ``ori_shape`` and ``img_shape``, (height, width), and, where the test pipeline has
resized or flipped the image, ``scale_factor``, ``flip`` and ``flip_direction``.

This is enough for every test pipeline of one resizing, center crops and flips: all of
them leave the centre of the image where it is, up to the rounding to whole pixels.
"""

from typing import Any, Dict, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

LOADING = {'LoadImage', 'LoadImageFromFile'}
RESIZING = {'AntialiasedResize', 'Resize', 'ResizeEdge'}
OTHER_TRANSFORMS = {
    'KeepOriginal',
    'RemoveBottomRows',
    'CenterCrop',
    'RandomFlip',
    'PackInputs',
}
ORIGINAL = 'original'
# How a pipeline keeps them.
KEEPING = (
    "Put the pipeline's transforms that resize, crop and flip into dict(type="
    "'KeepOriginal', max_size=1024, transforms=[...]), and give PackInputs "
    "algorithm_keys=('original',). configs/ablation/refine_original.py does so."
)


class Original(NamedTuple):
    """A picture as it was loaded, and where the network's input lies in it.

    Attributes:
        pixels (Tensor): (H, W, C), as they were loaded: uint8, BGR.
        view (tuple[float, float, float, float]): ``(a_x, a_y, b_x, b_y)``: the place (x,
            y) of the input, in pixels, is the place (a_x * x + b_x, a_y * y + b_y) of the
            picture. A pixel is one unit wide and begins at its number. A mirrored input
            has a negative scale.
        noted (dict): What the pipeline had noted of that input: ``img_shape``, ``flip``
            and ``flip_direction``.
    """

    pixels: Tensor
    view: Tuple[float, float, float, float]
    noted: Dict[str, Any]

    def fits(self, sample) -> bool:
        """Whether nothing has resized, cropped or flipped the input of a sample since."""
        return all(
            sample.get(key) == value for key, value in self.noted.items() if key in sample
        )


def check_pipeline(pipeline, loading=None):
    """Check that boxes can be followed through a test pipeline.

    Args:
        pipeline (Compose): The pipeline. Those of test-time augmentation are checked
            view by view.
        loading (Callable, optional): The transform in front of it that loads an image,
            where that stands apart. Defaults to None.

    Raises:
        ValueError: If it has a transform whose geometry is not recorded, more than one
            resizing, or one that does not know that images are decoded at a fraction of
            their size.
    """
    for transforms in _views(pipeline):
        names = [type(transform).__name__ for transform in transforms]
        resizings = [name for name in names if name in RESIZING]
        unknown = set(names) - LOADING - RESIZING - OTHER_TRANSFORMS
        if unknown or len(resizings) > 1:
            raise ValueError(
                'Boxes cannot be followed back to the original images through a test '
                f'pipeline of {", ".join(names)}. Use at most one of '
                f'{", ".join(sorted(RESIZING))}, and otherwise '
                f'{", ".join(sorted(LOADING | OTHER_TRANSFORMS))}. (An evaluation without '
                'boxes leaves ObjectLocalization out of the evaluators.)'
            )
        hints = [getattr(transform, 'scale_hint', None) for transform in transforms]
        hints.append(getattr(loading, 'scale_hint', None))
        if any(hints) and set(resizings) - {'AntialiasedResize'}:
            raise ValueError(
                f'LoadImage has a scale_hint, of which {resizings[0]} knows nothing: boxes '
                'would be those of a smaller image. Use AntialiasedResize in the test '
                'pipeline, or leave the scale_hint out.'
            )


def gives_one_size(pipeline) -> Optional[bool]:
    """Whether all images have one size behind a pipeline.

    Args:
        pipeline (Compose): The pipeline.

    Returns:
        bool | None: False where images keep their own proportions. None where one cannot
        tell: they are as they were loaded, or a transform is not known here.
    """
    answers = set()
    for transforms in _views(pipeline):
        names = {type(transform).__name__ for transform in transforms}
        keeps_ratio = any(getattr(t, 'keep_ratio', False) for t in transforms)
        if not names <= LOADING | RESIZING | OTHER_TRANSFORMS:
            answers.add(None)
        elif 'CenterCrop' in names:
            answers.add(True)
        elif 'ResizeEdge' in names or keeps_ratio:
            answers.add(False)
        else:
            answers.add(True if names & RESIZING else None)
    return min(answers, key=[False, None, True].index)


def keeps_original(pipeline) -> bool:
    """Whether a pipeline packs the original pictures, for ``refine_at='original'``.

    Args:
        pipeline (Compose): The pipeline. One that is not known here may do so.
    """
    return all(
        ORIGINAL in getattr(transform, 'algorithm_keys', (ORIGINAL,))
        for transforms in _views(pipeline)
        for transform in transforms
    )


def _views(pipeline):
    """The transforms of each view of test-time augmentation, or of the only one."""
    transforms = list(_flat(pipeline))
    for i, transform in enumerate(transforms):
        if type(transform).__name__ == 'TestTimeAug':
            return [transforms[:i] + list(_flat(view)) for view in transform.subroutines]
    return [transforms]


def _flat(pipeline):
    """The transforms of a pipeline; those in KeepOriginal are its steps as well."""
    for transform in getattr(pipeline, 'transforms', ()):
        yield transform
        if type(transform).__name__ == 'KeepOriginal':
            yield from transform.transforms


def to_original(boxes: Tensor, sample) -> Tensor:
    """From pixels of the network's input to pixels of the original image."""
    scale, offset = _scale_and_offset(sample, boxes)
    return (_flip(boxes, sample) + offset) / scale


def to_input(boxes: Tensor, sample) -> Tensor:
    """From pixels of the original image to pixels of the network's input."""
    scale, offset = _scale_and_offset(sample, boxes)
    return _flip(boxes * scale - offset, sample)


def _scale_and_offset(sample, boxes):
    scale = sample.get('scale_factor') or (1.0, 1.0)
    offset = []
    for original, size, factor in zip(
        reversed(sample.get('ori_shape')[:2]), reversed(sample.get('img_shape')[:2]), scale
    ):
        # As mmcv's CenterCrop rounds; an image that is smaller stays where it is.
        offset.append(max(0, round((round(original * factor) - size) / 2)))
    to_tensor = boxes.new_tensor
    return to_tensor([*scale, *scale]), to_tensor([*offset, *offset])


def _flip(boxes, sample):
    if not sample.get('flip'):
        return boxes
    height, width = sample.get('img_shape')[:2]
    x1, y1, x2, y2 = boxes.unbind(-1)
    if sample.get('flip_direction') in ('horizontal', 'diagonal'):
        x1, x2 = width - x2, width - x1
    if sample.get('flip_direction') in ('vertical', 'diagonal'):
        y1, y2 = height - y2, height - y1
    return torch.stack([x1, y1, x2, y2], dim=-1)
