"""A model as a file that runs without this package."""

import os
import os.path as osp
import warnings
from contextlib import contextmanager
from typing import Callable, Optional, Sequence, Tuple

import numpy as np
import torch

from ..arguments import check_choice
from ..models import APCNN
from .deployed_model import DeployedModel
from .export_formats import FORMATS, read_onnx, set_threshold

# Of torch.onnx's and torch.export's open sizes that are multiples of others.
MINIMUM_TORCH = (2, 6)
BATCHES = (1, 3, 17)
EQUAL = ('accepted', 'is_refined', 'rois', 'roi_valid', 'merged_box')


def export(
    model: APCNN,
    path: str,
    size: Tuple[int, int],
    format: str = 'onnx',
    preprocess: bool = True,
    metadata: Optional[dict] = None,
):
    """Write a model to a file, and compare the file with the model.

    The inputs are those of :meth:`DeployedModel.forward`, by their names. The batch, the
    height and the width stay open; the latter two are multiples of the stride of the
    highest pyramid level, but for the originals, which have one size in a batch. The
    outputs are, each where the model has it:

    - ``scores``, ``raw_scores`` and ``refined_scores``, (N, C): the probabilities, and
      those of each stage alone.
    - ``novelty``, (N, ), and ``accepted``, (N, ), bool: see :class:`Calibrator`.
    - ``rois``, (N, K, 4), (x1, y1, x2, y2) in pixels of the input, ``roi_scores``, (N, K),
      and ``roi_valid``, (N, K), bool: which of the K places are taken.
    - ``merged_box``, (N, 4).
    - ``attention_0`` and so on, (N, h, w): the spatial attention of each level, from low to
      high.
    - ``is_refined``, (N, ), bool, of a cascade: whether the refined stage ran. Otherwise
      ``refined_scores`` repeats the raw ones.

    Args:
        model (APCNN): The model, on the CPU.
        path (str): The file. It appears when it has passed the comparison.
        size (tuple[int, int]): Height and width of an input.
        format (str): 'onnx', 'torchscript' or 'exported_program'. Defaults to 'onnx'.
        preprocess (bool): See :class:`DeployedModel`. Defaults to True.
        metadata (dict, optional): More of what the file tells about itself, as JSON, under
            the name 'apcnn_mm': beside this, the names of the ``outputs``, the ``stage``,
            the ``input``, the ``multiple`` of its sides, the ``originals`` where they are
            a second one, the ``roi_levels`` of the K places, the ``threshold`` of a
            cascade, the ``temperature`` and whether the novelty ``has_threshold``.
            Defaults to None.

    Raises:
        ImportError: If ONNX or ONNX Runtime is missing.
        RuntimeError: If the version of PyTorch is too old, or the file gives other
            results than the model.
        ValueError: If the format cannot have a cascade.
    """
    check_choice('format', format, tuple(FORMATS))
    deployed = DeployedModel(model, preprocess)
    if deployed.is_cascade and format != 'onnx':
        raise ValueError(
            'A cascade runs other layers for other images, for which the format must be '
            f"'onnx', not {format!r}. Or set model.test_cfg.stage to 'both' or 'raw'."
        )
    check_versions(format)
    multiple = find_multiple(model, size)
    calibrator = model.head.calibrator
    metadata = dict(
        metadata or {},
        temperature=calibrator.temperature.item(),
        has_threshold=bool(calibrator.threshold.isfinite()),
        outputs=deployed.output_names,
        stage=model.test_stage,
        input='uint8 RGB (N, H, W, 3)' if preprocess else 'float32 (N, 3, H, W)',
        multiple=multiple,
    )
    if deployed.takes_originals:
        metadata['originals'] = 'uint8 RGB (N, H, W, 3)'
    if deployed.is_cascade:
        metadata['threshold'] = model.threshold
    if 'rois' in deployed.output_names:
        topk = model.roi_generator.topk
        metadata['roi_levels'] = [level for level, k in enumerate(topk) for _ in range(k)]
    other = tuple(max(2 * multiple, side // 2 // multiple * multiple) for side in size)
    sizes = (tuple(size), (other[0], size[1]))
    partial = f'{path}.unfinished'
    try:
        with torch.no_grad(), _quiet():
            write, read = FORMATS[format]
            inputs = deployed.random_inputs(2, size, seed=0)
            write(deployed, inputs, multiple, partial, metadata)
            run = read(partial)
        compare(deployed, run, sizes)
        if deployed.is_cascade:
            compare_cascade(deployed, partial, sizes)
        os.replace(partial, path)
    finally:
        if osp.exists(partial):
            os.remove(partial)


def check_versions(format: str):
    """Whether this environment can write the format.

    Raises:
        ImportError: If ONNX or ONNX Runtime is missing.
        RuntimeError: If the version of PyTorch is too old.
    """
    version = tuple(int(number) for number in torch.__version__.split('.')[:2])
    if format != 'torchscript' and version < MINIMUM_TORCH:
        raise RuntimeError(
            f'The format {format} needs PyTorch {".".join(map(str, MINIMUM_TORCH))} or '
            f'later, but this is {torch.__version__}. Use --format torchscript, or export '
            'in an environment with a later version.'
        )
    if format == 'onnx':
        try:
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise ImportError(
                f'To export to ONNX ({error}):\n    pip install onnx onnxruntime onnxscript'
            ) from error


def find_multiple(model: APCNN, size: Tuple[int, int]) -> int:
    """The stride of the highest pyramid level, of which an input's sides are multiples.

    Args:
        model (APCNN): The model.
        size (tuple[int, int]): Height and width of an input.

    Raises:
        ValueError: If the size has no such sides.
    """
    with torch.no_grad():
        highest = model.extract_feat(torch.zeros(1, 3, *size), 'backbone')[-1]
    multiple = 2 ** round(np.log2(size[1] / highest.size(-1)))
    if any(side % multiple for side in size):
        raise ValueError(
            f'An exported model takes images with sides that are multiples of {multiple}, '
            f'the stride of its highest level, but the test pipeline makes them '
            f'{size[0]} x {size[1]}.'
        )
    return multiple


def compare(
    deployed: DeployedModel,
    run: Callable[..., Sequence[np.ndarray]],
    sizes: Sequence[Tuple[int, int]],
):
    """Compare a file with its model on random pictures in batches of several sizes.

    Args:
        deployed (DeployedModel): The model.
        run (Callable): What the file says, from the inputs to the outputs.
        sizes (Sequence[tuple[int, int]]): Heights and widths.

    Raises:
        RuntimeError: If the logarithms of scores, which are logits but for a constant, are
            off by more than 1e-4, or an ROI is another one.
    """
    for size in sizes:
        for n in BATCHES:
            inputs = deployed.random_inputs(n, size, seed=n)
            with torch.no_grad():
                expected, found = deployed(**inputs), run(**inputs)
            for name, ours, theirs in zip(
                deployed.output_names, expected, found, strict=True
            ):
                ours, theirs = ours.numpy(), np.asarray(theirs)
                if name.endswith('scores') and name != 'roi_scores':
                    ours, theirs = (np.log(x.clip(1e-20)) for x in (ours, theirs))
                equal = name in EQUAL
                off = np.abs(ours.astype(float) - theirs).max() if ours.size else 0.0
                # Not `off > 1e-4`, for NaN.
                if not off <= (1e-3 if equal else 1e-4):
                    raise RuntimeError(
                        f'The exported model is wrong: {name} of {n} images of '
                        f'{size[0]} x {size[1]} is off by {off:.2g}. The file is deleted.'
                    )


def compare_cascade(deployed: DeployedModel, path: str, sizes: Sequence[Tuple[int, int]]):
    """:func:`compare` an ONNX file at thresholds that refine none, all, and some images.

    Args:
        deployed (DeployedModel): The model.
        path (str): The file.
        sizes (Sequence[tuple[int, int]]): Heights and widths.

    Raises:
        RuntimeError: See :func:`compare`.
    """
    raw = deployed.output_names.index('raw_scores')
    batches = (deployed.random_inputs(n, size, seed=n) for n in BATCHES for size in sizes)
    with torch.no_grad():
        confidence = [deployed(**inputs)[raw].amax(dim=1) for inputs in batches]
    confidence = torch.cat(confidence).sort().values
    # As far as can be from all images, whose confidences are rounded otherwise in the file.
    gap = confidence.diff().argmax()
    some = confidence[gap : gap + 2].mean()
    model, told = deployed.model, deployed.model.threshold
    try:
        for model.threshold in (0.0, 1.0, some.item()):
            compare(deployed, read_onnx(set_threshold(path, model.threshold)), sizes)
    finally:
        model.threshold = told


@contextmanager
def _quiet():
    """Without the warnings of tracing: the file is compared with the model."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield
