"""A model as a file that runs without this package."""

import json
import os
import os.path as osp
import warnings
from contextlib import contextmanager
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from apcnn_runtime import METADATA, THRESHOLD

from ..arguments import check_choice
from ..models import APCNN
from ..models.apcnn import CASCADE

FORMATS = ('onnx', 'torchscript', 'exported_program')
# Of torch.onnx's and torch.export's open sizes that are multiples of others.
MINIMUM_TORCH = (2, 6)
BATCHES = (1, 3, 17)
EQUAL = ('accepted', 'is_refined', 'rois', 'roi_valid', 'merged_box')


class DeployedModel(nn.Module):
    """A model from images to tensors alone.

    Args:
        model (APCNN): The model. It predicts by its ``test_cfg``.
        preprocess (bool): Whether it takes pictures, uint8 RGB (N, H, W, 3), which it
            normalises as the model's data preprocessor does, or what that makes of them,
            float32 (N, 3, H, W). Defaults to True.
    """

    def __init__(self, model: APCNN, preprocess: bool = True):
        super().__init__()
        self.model = model.eval()
        self.preprocess = preprocess

    @property
    def is_cascade(self) -> bool:
        """Whether other layers run for other images, by a threshold."""
        return self.model.test_stage == CASCADE

    @property
    def output_names(self) -> List[str]:
        """What ``forward`` returns: see :func:`export`."""
        stages = ['raw', 'refined']
        if self.model.test_stage in stages:
            stages = [self.model.test_stage]
        names = ['scores', *(f'{stage}_scores' for stage in stages), 'novelty', 'accepted']
        if self.is_cascade:
            names.append('is_refined')
        if self.model.roi_generator is not None and self.model.neck.spatial:
            names += ['rois', 'roi_scores', 'roi_valid', 'merged_box']
            names += [f'attention_{k}' for k in range(self.model.head.num_levels)]
        return names

    def forward(
        self, images: Tensor, threshold: Optional[Tensor] = None
    ) -> Tuple[Tensor, ...]:
        """The outputs of ``output_names`` for a batch.

        Args:
            images (Tensor): The batch.
            threshold (Tensor, optional): Traces a cascade with this input in place of
                the model's threshold.
        """
        if self.preprocess:
            images = self.normalise(images)
        model, head, is_refined = self.model, self.model.head, None
        # Below as APCNNHead.judge, but for its stack of all logits: torch.export compares
        # the strides of its four axes, and would make the batch a constant.
        if threshold is None:
            found = model._run_stages(images, with_rois=True)
            attention, rois = found.attention, found.rois
            logits = head.stage_logits(found.pyramids, found.refined)
            if found.refined is not None:
                is_refined = images.new_zeros(len(images), dtype=torch.bool)
                is_refined[found.refined] = True
        else:
            features, raw = model._run_raw(images)
            attention, rois = raw.spatial, model._find_rois(raw, images)
            is_refined = model._is_unsure(raw, threshold)
            logits = [head.classify(raw)]
            logits.append(self._refine_some(features, rois, is_refined, logits[0]))
        novelty, accepted = head.calibrator(torch.cat(logits))
        stages = torch.stack([x.mean(dim=0) for x in logits]) / head.calibrator.temperature
        scores = torch.cat([stages.mean(dim=0)[None], stages]).softmax(dim=-1)
        outputs = [*scores.unbind(), novelty, accepted]
        if is_refined is not None:
            outputs.append(is_refined)
        if rois is not None:
            outputs += [rois.boxes, rois.scores, rois.valid, rois.merged_box]
            outputs += [level.squeeze(1) for level in attention]
        return tuple(outputs)

    def _refine_some(self, features, rois, is_refined, raw_logits):
        """The refined stage's logits for some images, and the raw stage's for the others.

        A branch of the graph, for batches without such images: ONNX Runtime before 1.32
        fails at layers with no image, which later ones do run.
        """

        def refine():
            chosen = is_refined.nonzero().squeeze(1)
            torch._check(chosen.size(0) > 0)  # a promise, or torch.export would ask
            refined = self.model._run_refined(features[chosen], rois.of_images(chosen))
            return raw_logits.index_copy(1, chosen, self.model.head.classify(refined))

        def keep():
            return raw_logits.clone()

        return torch.cond(is_refined.any(), refine, keep)

    def normalise(self, images: Tensor) -> Tensor:
        """As the data preprocessor, uint8 RGB (N, H, W, 3) to float32 (N, 3, H, W)."""
        preprocessor = self.model.data_preprocessor
        images = images.permute(0, 3, 1, 2).float()
        if not preprocessor.to_rgb:  # the model takes images as they are read: BGR
            images = images.flip(1)
        if preprocessor._enable_normalize:
            images = (images - preprocessor.mean) / preprocessor.std
        return images


def export(
    model: APCNN,
    path: str,
    size: Tuple[int, int],
    format: str = 'onnx',
    preprocess: bool = True,
    metadata: Optional[dict] = None,
):
    """Write a model to a file, and compare the file with the model.

    The batch, the height and the width stay open; the latter two are multiples of the
    stride of the highest pyramid level. The outputs are, each where the model has it:

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
            the ``input``, the ``multiple`` of its sides, the ``roi_levels`` of the K
            places, the ``threshold`` of a cascade, the ``temperature`` and whether the
            novelty ``has_threshold``. Defaults to None.

    Raises:
        ImportError: If ONNX or ONNX Runtime is missing.
        RuntimeError: If the version of PyTorch is too old, or the file gives other
            results than the model.
        ValueError: If the format cannot have a cascade, or the model refines original
            pictures.
    """
    check_choice('format', format, FORMATS)
    deployed = DeployedModel(model, preprocess)
    if deployed.is_cascade and format != 'onnx':
        raise ValueError(
            'A cascade runs other layers for other images, for which the format must be '
            f"'onnx', not {format!r}. Or set model.test_cfg.stage to 'both' or 'raw'."
        )
    if model.refine_at == 'original' and model.test_stage != 'raw':
        raise ValueError(
            "With model.refine_at='original' the model needs pictures of any size beside "
            "its input, which an exported one has not. Set model.test_cfg.stage to 'raw'."
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
            write, read = WRITERS[format]
            write(deployed, random_images(2, size, preprocess), multiple, partial, metadata)
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
            'in an environment with a later version (apcnn-mm[onedl]).'
        )
    if format == 'onnx':
        try:
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise ImportError(
                f'To export to ONNX, install the extra apcnn-mm[onnx]: {error}'
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


def random_images(n: int, size: Tuple[int, int], preprocess: bool, seed: int = 0) -> Tensor:
    """Random pictures as a :class:`DeployedModel` takes them."""
    generator = torch.Generator().manual_seed(seed)
    if preprocess:
        return torch.randint(256, (n, *size, 3), dtype=torch.uint8, generator=generator)
    return torch.randn(n, 3, *size, generator=generator)


def compare(
    deployed: DeployedModel,
    run: Callable[[Tensor], Sequence[np.ndarray]],
    sizes: Sequence[Tuple[int, int]],
):
    """Compare a file with its model on random pictures in batches of several sizes.

    Args:
        deployed (DeployedModel): The model.
        run (Callable): What the file says, from a batch to the outputs.
        sizes (Sequence[tuple[int, int]]): Heights and widths.

    Raises:
        RuntimeError: If the logarithms of scores, which are logits but for a constant, are
            off by more than 1e-4, or an ROI is another one.
    """
    for size in sizes:
        for n in BATCHES:
            images = random_images(n, size, deployed.preprocess, seed=n)
            with torch.no_grad():
                expected, found = deployed(images), run(images)
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
    batches = (
        random_images(n, size, deployed.preprocess, seed=n)
        for n in BATCHES
        for size in sizes
    )
    with torch.no_grad():
        confidence = [deployed(images)[raw].amax(dim=1) for images in batches]
    confidence = torch.cat(confidence).sort().values
    # As far as can be from all images, whose confidences are rounded otherwise in the file.
    gap = confidence.diff().argmax()
    some = confidence[gap : gap + 2].mean()
    model, told = deployed.model, deployed.model.threshold
    try:
        for model.threshold in (0.0, 1.0, some.item()):
            compare(deployed, _read_onnx(path, model.threshold), sizes)
    finally:
        model.threshold = told


def _open_sizes(multiple, preprocess):
    height, width = (torch.export.Dim(name, min=2, max=1024) for name in ('h', 'w'))
    first = 1 if preprocess else 2
    return {
        0: torch.export.Dim('n', min=1, max=2**16),
        first: multiple * height,
        first + 1: multiple * width,
    }


def _trace(deployed, images, multiple):
    inputs, sizes = [images], [_open_sizes(multiple, deployed.preprocess)]
    if deployed.is_cascade:
        inputs.append(torch.tensor(float(deployed.model.threshold)))
        sizes.append(None)
    return torch.export.export(
        deployed, tuple(inputs), dynamic_shapes=tuple(sizes), strict=False
    )


def _write_onnx(deployed, images, multiple, path, metadata):
    import onnx

    program = torch.onnx.export(
        _trace(deployed, images, multiple),
        input_names=['images', THRESHOLD] if deployed.is_cascade else ['images'],
        output_names=deployed.output_names,
        dynamo=True,
        verbose=False,
    )
    model = program.model_proto
    _name_sizes(model.graph, deployed)
    if deployed.is_cascade:
        # A constant from now on. The exporter would have made one with all equal numbers.
        threshold = np.asarray(deployed.model.threshold, np.float32)
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(threshold, model.graph.input.pop().name)
        )
    onnx.helper.set_model_props(model, {METADATA: json.dumps(metadata)})
    onnx.save(model, path)


def _name_sizes(graph, deployed):
    """N, H and W in place of the names that PyTorch makes up."""
    shape = graph.input[0].type.tensor_type.shape.dim
    names = ('N', 'H', 'W', '') if deployed.preprocess else ('N', '', 'H', 'W')
    names = {dim.dim_param: name for dim, name in zip(shape, names) if dim.dim_param}
    for value in (*graph.input, *graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_param = names[dim.dim_param]


def _read_onnx(path, threshold=None):
    from apcnn_runtime.onnx_model import open_session

    session = open_session(path, threshold=threshold)
    return lambda images: session.run(None, {'images': images.numpy()})


def _write_torchscript(deployed, images, multiple, path, metadata):
    traced = torch.jit.trace(deployed, images, check_trace=False)
    torch.jit.save(traced, path, _extra_files={METADATA: json.dumps(metadata)})


def _write_exported_program(deployed, images, multiple, path, metadata):
    program = _trace(deployed, images, multiple)
    with open(path, 'wb') as file:  # with a name, it must end in .pt2
        torch.export.save(program, file, extra_files={METADATA: json.dumps(metadata)})


def _read_torchscript(path):
    return torch.jit.load(path)


def _read_exported_program(path):
    with open(path, 'rb') as file:
        return torch.export.load(file).module()


WRITERS: Dict[str, Tuple[Callable, Callable]] = {
    'onnx': (_write_onnx, _read_onnx),
    'torchscript': (_write_torchscript, _read_torchscript),
    'exported_program': (_write_exported_program, _read_exported_program),
}


@contextmanager
def _quiet():
    """Without the warnings of tracing: the file is compared with the model."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield
