"""Predict many images, with the evidence in pixels of the original images."""

import os
import os.path as osp
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmcv.image import imresize
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.runner import load_checkpoint
from mmengine.utils import track_iter_progress
from mmpretrain.apis import ImageClassificationInferencer
from mmpretrain.registry import TRANSFORMS
from mmpretrain.structures import DataSample
from torch.utils.data import DataLoader

from apcnn_runtime.lines import describe
from apcnn_runtime.pictures import PICTURE_SIZE

from ..arguments import check_choice, check_number, check_type
from ..datasets.classes import read_classes
from ..geometry import OTHER_TRANSFORMS, RESIZING, check_pipeline, to_original
from ..launch import load_config
from ..models import APCNN
from ..models.settings import find_differences
from ..models.stages import telling_stages
from ..taxonomy import read_taxonomy
from ..visualization import ROIVisualizer
from .images import (
    Images,
    InputType,
    collate_by_size,
    list_images,
    process_image,
    read_image,
    to_rgb,
)


class APCNNInferencer(ImageClassificationInferencer):
    """Inferencer for AP-CNN, built on mmpretrain's.

    Images are read by the transform that the config's test pipeline begins with, as in
    training and testing.

    Args:
        model (str | Path | Config | BaseModel): A config, its path, or a model.
        pretrained (str | Path): The checkpoint.
        device (str, optional): The device. Defaults to the GPU, where there is one, or
            to that of the given model.
        classes (str | Sequence[str], optional): Names of the classes, or a text file with
            them. Defaults to those in the checkpoint.
        taxonomy (str | Path, optional): A file, see :func:`read_taxonomy`. Defaults to that
            of the config's :class:`TaxonomyAccuracy`, where it is there and fits.
        confidence (float, optional): The probability that the roll-up must reach. Defaults
            to the config's or 0.8.

    Attributes:
        meta (dict): That of the checkpoint.

    Example:
        >>> from apcnn_mm.apis import APCNNInferencer
        >>> inferencer = APCNNInferencer('config.py', pretrained='checkpoint.pth')
        >>> inferencer(['a.jpg', 'b.jpg'], batch_size=2)

    Raises:
        FileNotFoundError: If there is no such config or checkpoint.
        TypeError: If an argument is of another kind.
        ValueError: If the model is no AP-CNN, if the checkpoint, the classes or the
            taxonomy do not fit it, or if boxes cannot be followed through the test
            pipeline.
    """

    def __init__(
        self,
        model: Union[str, os.PathLike, Config, BaseModel],
        pretrained: Union[str, os.PathLike],
        device: Union[str, torch.device, None] = None,
        classes: Union[str, Sequence[str], None] = None,
        taxonomy: Union[str, os.PathLike, None] = None,
        confidence: Optional[float] = None,
    ):
        check_type('taxonomy', taxonomy, str, os.PathLike, type(None))
        if confidence is not None:
            check_number('confidence', confidence, above=0, maximum=1)
        check_type('pretrained', pretrained, str, os.PathLike)
        check_type('model', model, str, os.PathLike, Config, BaseModel)
        check_type('device', device, str, torch.device, type(None))
        classes = read_classes(classes)
        if '://' not in os.fspath(pretrained) and not osp.isfile(pretrained):
            raise FileNotFoundError(
                f'pretrained: there is no checkpoint {osp.abspath(pretrained)}.'
            )
        if isinstance(model, (str, os.PathLike)):
            model = load_config(os.fspath(model))
        if device is None and not isinstance(model, BaseModel):
            device = get_device()
        # mmpretrain would only log a warning about layers that do not fit.
        super().__init__(model, pretrained=False, device=device, classes=classes)
        if not isinstance(self.model, APCNN):
            raise ValueError(
                f'APCNNInferencer needs an APCNN, not {type(self.model).__name__}. '
                "mmpretrain's ImageClassificationInferencer takes all classifiers."
            )
        check_pipeline(self.pipeline, self.loading)
        try:
            checkpoint = load_checkpoint(
                self.model, os.fspath(pretrained), map_location='cpu', strict=True
            )
        except RuntimeError as error:
            lines = [line[:200] for line in str(error).split('\n') if line.strip()]
            more = [f'... and {len(lines) - 8} more lines'] if len(lines) > 8 else []
            raise ValueError(
                f'The checkpoint {pretrained} is not one of the model of the config. Use '
                'the config that the training left in its work directory. '
                + '\n    '.join([*lines[:8], *more])
            ) from None
        self.meta = checkpoint.get('meta') or {}
        for sentence in find_differences(self.meta, self.model):
            MMLogger.get_current_instance().warning(sentence)
        # Without a threshold all images are accepted, which says nothing.
        self.has_threshold = bool(self.model.head.calibrator.threshold.isfinite())
        meta = self.meta.get('dataset_meta') or {}
        number = self.model.head.num_classes
        # Without other names, mmpretrain takes those of the data set's class, which
        # are not those of a subset.
        if classes is None and (meta or len(self.classes or ()) != number):
            self.classes = meta.get('classes')
        if self.classes is not None and len(self.classes) != number:
            raise ValueError(
                f'classes must have the {number} names of the model, not '
                f'{len(self.classes)}: {self.classes}.'
            )
        self._init_taxonomy(taxonomy, confidence)

    def __call__(
        self,
        inputs: Union[InputType, Sequence[InputType]],
        return_datasamples: bool = False,
        batch_size: int = 1,
        num_workers: int = 0,
        top_k: int = 5,
        show_dir: Union[str, os.PathLike, None] = None,
    ) -> List[Union[dict, DataSample, str]]:
        """Predict images.

        Args:
            inputs (str | Path | np.ndarray | Sequence): Paths of images, a folder of
                images, with all its subfolders, or images as arrays of uint8: (H, W, 3)
                BGR, (H, W, 4) BGRA or (H, W) grey.
            return_datasamples (bool): Whether to return predictions as they are, in
                pixels of the network's input. Defaults to False.
            batch_size (int): Batch size. Defaults to 1.
            num_workers (int): Processes that read images. Defaults to 0: this process.
            top_k (int): How many of the best classes to tell. Defaults to 5.
            show_dir (str | Path, optional): Where to save pictures. They lie there as
                the images do in their folders. Defaults to None.

        Returns:
            list[dict | DataSample | str]: See :meth:`describe` and :meth:`stream`.

        Raises:
            FileNotFoundError: If a folder has no images.
        """
        check_choice('return_datasamples', return_datasamples, (True, False))
        check_number('top_k', top_k, minimum=1, integer=True)
        check_type('show_dir', show_dir, str, os.PathLike, type(None))
        images, names = list_images(inputs)
        outcomes = self.stream(images, batch_size, num_workers)
        results = []
        for i, (image, outcome) in enumerate(track_iter_progress((outcomes, len(images)))):
            result = self.describe(image, outcome, top_k)
            if show_dir is not None and result['error'] is None:
                self.draw(image, outcome, osp.join(show_dir, names[i]))
            results.append(outcome if return_datasamples else result)
        return results

    @property
    def stage_names(self) -> Tuple[str, ...]:
        """Whose scores a prediction's ``stage_scores`` are: 'raw', 'refined' or both."""
        return telling_stages(self.model.test_stage)

    def load(self, image: InputType) -> dict:
        """Put an image through the test pipeline.

        Args:
            image (str | Path | np.ndarray): The path of an image, or an image.

        Returns:
            dict: ``inputs`` and ``data_samples``, for one image. The sample has the
            height and width of the whole image as ``picture_shape``.

        Raises:
            Exception: What the pipeline's loading raises for a file that is no image, or
                the pipeline for an image that it cannot take.
        """
        return process_image(read_image(image, self.loading), self.pipeline)

    def preprocess(self, inputs: List[InputType], batch_size: int = 1) -> Iterator[dict]:
        """Batches for :meth:`forward`, as in mmpretrain's protocol of inferencers."""
        chunks = self._get_chunk_data(map(self.load, inputs), batch_size)
        yield from map(pseudo_collate, chunks)

    def stream(
        self, inputs: Sequence[InputType], batch_size: int = 1, num_workers: int = 0
    ) -> Iterator[Tuple[InputType, Union[DataSample, str]]]:
        """Predict images one batch after the other.

        Images that have different sizes behind the test pipeline are predicted apart: no
        prediction depends on the other images.

        Args:
            inputs (Sequence[str | Path | np.ndarray]): Paths of images, or images.
            batch_size (int): Batch size. Defaults to 1.
            num_workers (int): Processes that read images. Defaults to 0: this process.

        Yields:
            tuple: The input, and its prediction, on the CPU, or, where it cannot be read,
            the text of the error.

        Raises:
            Exception: A fault of the test pipeline or the model.
        """
        check_number('batch_size', batch_size, minimum=1, integer=True)
        check_number('num_workers', num_workers, minimum=0, integer=True)
        loader = DataLoader(
            Images(inputs, self.loading, self.pipeline),
            batch_size=batch_size,
            num_workers=num_workers,
            collate_fn=collate_by_size,
            pin_memory=self._device.type == 'cuda',
        )
        remaining = iter(inputs)
        # The model is at work while the caller is, with the outcomes of the batch before.
        with ThreadPoolExecutor(1) as model:
            running = None
            for batch in chain(loader, [None]):
                following = batch and model.submit(self._predict, batch)
                for outcome in running.result() if running else ():
                    yield next(remaining), outcome
                running = following

    def _predict(self, batch):
        """The outcomes of a batch, on the CPU."""
        outcomes = list(batch.errors)
        for places, inputs, samples in batch.groups:
            predictions = self.forward(dict(inputs=inputs, data_samples=samples))
            for place, prediction in zip(places, predictions):
                outcomes[place] = prediction
        return outcomes

    @property
    def _device(self):
        return next(self.model.parameters()).device

    def describe(
        self, image: InputType, outcome: Union[DataSample, str], top_k: int = 5
    ) -> dict:
        """A prediction in plain numbers.

        Args:
            image (str | Path | np.ndarray): The input.
            outcome (DataSample | str): What :meth:`stream` gave for it.
            top_k (int): How many of the best classes to tell. Defaults to 5.

        Returns:
            dict: ``image``, the path or None; ``width`` and ``height`` of the original
            image, turned as its EXIF orientation says; ``top``, the best classes, each
            with ``label``, ``name`` and ``score``; ``novelty``, the larger, the less the
            image looks like one of the classes; ``accepted``, whether it counts as one of
            them, None for a checkpoint that tools/calibrate.py has not given a threshold;
            ``raw`` and ``refined``, the same as ``top`` for each stage alone, None for a
            stage that did not run; ``rois``, each with
            ``box``, ``level`` (0 is the lowest) and ``score``; ``merged_box``; boxes are
            (x1, y1, x2, y2) in pixels of that original image. ``error`` is None, or all
            that there is beside ``image``. With a taxonomy also ``rollup``, the deepest
            name whose probability reaches the confidence, with its ``rank``, ``name`` and
            ``score``, or None; and ``ranks``, the best names of each rank.
        """
        path = None if isinstance(image, np.ndarray) else os.fspath(image)
        if isinstance(outcome, str):
            return dict(image=path, error=outcome)
        height, width = outcome.picture_shape
        rois, merged_box = [], None
        if 'rois' in outcome:
            boxes = to_original(outcome.rois, outcome).tolist()
            rois = [
                dict(box=box, level=level, score=score)
                for box, level, score in zip(
                    boxes, outcome.roi_levels.tolist(), outcome.roi_scores.tolist()
                )
            ]
            merged_box = to_original(outcome.merged_box, outcome).tolist()
        probs = outcome.pred_score.float().cpu().numpy()
        result = describe(
            image=path,
            size=(width, height),
            scores=probs,
            stages=dict(zip(self.stage_names, outcome.stage_scores.float().cpu().numpy())),
            novelty=float(outcome.novelty),
            accepted=bool(outcome.accepted) if self.has_threshold else None,
            rois=rois,
            merged_box=merged_box,
            classes=self.classes,
            top_k=top_k,
        )
        if self.taxonomy is not None and result['error'] is None:
            result.update(self.taxonomy.describe(probs, self.confidence, top_k))
        return result

    def draw(self, image: InputType, outcome: DataSample, out_file: Optional[str] = None):
        """Draw a prediction and its ROIs on the original image.

        The longer side of the picture has at most ``PICTURE_SIZE`` pixels.

        Args:
            image (str | Path | np.ndarray): The input.
            outcome (DataSample): Its prediction.
            out_file (str, optional): Where to save the picture. Defaults to None.

        Returns:
            np.ndarray: The picture, (H, W, 3) RGB.
        """
        if self.visualizer is None:
            self.visualizer = ROIVisualizer.get_instance('apcnn_inferencer')
        picture = to_rgb(read_image(image, self.loading)['img'])
        scale = PICTURE_SIZE / max(picture.shape[:2])
        if scale < 1:
            height, width = (max(1, round(scale * side)) for side in picture.shape[:2])
            picture = imresize(picture, (width, height))
        return self.visualizer.visualize_cls(
            picture,
            outcome,
            original=True,
            classes=self.classes,
            draw_gt=False,
            out_file=out_file,
        )

    def _init_pipeline(self, cfg: Config) -> Compose:
        """Build the test pipeline, apart from its loading.

        AP-CNN: mmpretrain reads files by ``mmcv.imread``, whatever the config says.
        """
        dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
        if not dataset.get('pipeline'):
            raise ValueError('The config has no test_dataloader.dataset.pipeline.')
        self.loading, *others = map(TRANSFORMS.build, dataset['pipeline'])
        if type(self.loading).__name__ in RESIZING | OTHER_TRANSFORMS:
            raise ValueError(
                'The test pipeline must begin with a transform that loads an image, such '
                f'as LoadImage, not with {type(self.loading).__name__}.'
            )
        return Compose(others)

    def _init_taxonomy(self, file, confidence):
        """The given taxonomy or, where it is of use, that of the config's evaluation."""
        metrics = self.config.get('test_evaluator') or []
        metrics = metrics if isinstance(metrics, Sequence) else [metrics]
        entries = [entry for entry in metrics if entry.get('type') == 'TaxonomyAccuracy']
        entry = dict(entries[0]) if entries else {}
        self.taxonomy = None
        self.confidence = confidence or entry.get('confidence', 0.8)
        if file is not None:
            self.taxonomy = read_taxonomy(file, self.classes or ())
        elif entry:
            file = osp.join(entry.get('data_root', ''), entry['taxonomy'])
            try:
                self.taxonomy = read_taxonomy(file, self.classes or ())
            except (FileNotFoundError, ValueError) as error:
                # Such as on a machine without the data, or with other names.
                MMLogger.get_current_instance().warning(
                    f'There will be no names of the taxonomy of the config. {error}'
                )
