"""Predict many images, with the evidence in pixels of the original images."""

import os.path as osp
from typing import Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
from mmcv.image import imread, imrescale
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.model import BaseModel
from mmengine.runner import load_checkpoint
from mmengine.utils import track_iter_progress
from mmpretrain.apis import ImageClassificationInferencer
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..geometry import check_pipeline, to_original
from ..models import APCNN
from ..visualization import ROIVisualizer

InputType = Union[str, np.ndarray]
# A camera's photograph would take seconds to draw and tens of megabytes to keep.
PICTURE_SIZE = 1000


class _Images(Dataset):
    """Images through the test pipeline; an exception's text for an unreadable one."""

    def __init__(self, inputs, load):
        self.inputs = inputs
        self.load = load

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        try:
            return self.load(self.inputs[index])
        except Exception as error:  # one bad file must not end a long run
            return f'{type(error).__name__}: {error}'


class APCNNInferencer(ImageClassificationInferencer):
    """Inferencer for AP-CNN, built on mmpretrain's.

    Args:
        model (str | Config | BaseModel): A config, its path, or a model.
        pretrained (str): The checkpoint.
        device (str, optional): The device. Defaults to the GPU, where there is one, or
            to that of the given model.
        classes (Sequence[str], optional): Names of the classes. Defaults to those in the
            checkpoint.

    Example:
        >>> from apcnn_mm.apis import APCNNInferencer
        >>> inferencer = APCNNInferencer('config.py', pretrained='checkpoint.pth')
        >>> inferencer(['a.jpg', 'b.jpg'], batch_size=2)

    Raises:
        ValueError: If the model is no AP-CNN, if the checkpoint does not fit it, or if
            boxes cannot be followed through the test pipeline.
    """

    def __init__(self, model, pretrained, device=None, classes=None):
        if device is None and not isinstance(model, BaseModel):
            device = get_device()
        # mmpretrain would only log a warning about layers that do not fit.
        super().__init__(model, pretrained=False, device=device, classes=classes)
        if not isinstance(self.model, APCNN):
            raise ValueError(
                f'APCNNInferencer needs an APCNN, not {type(self.model).__name__}. '
                "mmpretrain's ImageClassificationInferencer takes all classifiers."
            )
        check_pipeline(self.pipeline)
        try:
            checkpoint = load_checkpoint(
                self.model, pretrained, map_location='cpu', strict=True
            )
        except RuntimeError as error:
            raise ValueError(
                f'The checkpoint {pretrained} is not one of the model of the config. Use '
                f'the config that the training left in its work directory. {error}'
            ) from error
        meta = checkpoint.get('meta', {}).get('dataset_meta') or {}
        # Without other names, mmpretrain takes those of the data set's class, which
        # are not those of a subset.
        if classes is None and (
            meta or len(self.classes or ()) != self.model.head.num_classes
        ):
            self.classes = meta.get('classes')

    def __call__(
        self,
        inputs: Union[InputType, Sequence[InputType]],
        return_datasamples: bool = False,
        batch_size: int = 1,
        num_workers: int = 0,
        top_k: int = 5,
        show_dir: Optional[str] = None,
    ) -> List[Union[dict, DataSample]]:
        """Predict images.

        Args:
            inputs (str | np.ndarray | Sequence): Paths of images, a folder of images, or
                images as arrays, (H, W, 3) BGR.
            return_datasamples (bool): Whether to return predictions as they are, in
                pixels of the network's input. Defaults to False.
            batch_size (int): Batch size. Defaults to 1.
            num_workers (int): Processes that read images. Defaults to 0: this process.
            top_k (int): How many of the best classes to tell. Defaults to 5.
            show_dir (str, optional): Where to save pictures. Defaults to None.

        Returns:
            list[dict | DataSample]: See :meth:`describe`.
        """
        inputs = self._inputs_to_list(inputs)
        outcomes = self.stream(inputs, batch_size, num_workers)
        results = []
        for i, (image, outcome) in enumerate(track_iter_progress((outcomes, len(inputs)))):
            if show_dir is not None and not isinstance(outcome, str):
                name = osp.basename(image) if isinstance(image, str) else str(i)
                self.draw(image, outcome, osp.join(show_dir, f'{name}.jpg'))
            if not return_datasamples:
                outcome = self.describe(image, outcome, top_k)
            results.append(outcome)
        return results

    def load(self, image: InputType) -> dict:
        """Put an image through the test pipeline.

        Args:
            image (str | np.ndarray): The path of an image, or an image.

        Returns:
            dict: ``inputs`` and ``data_samples``, for one image.

        Raises:
            ValueError: If the file is no image.
        """
        array = imread(image)
        if array is None:
            raise ValueError(f'{image} is not an image that OpenCV can read.')
        size = array.shape[:2]
        return self.pipeline(dict(img=array, img_shape=size, ori_shape=size))

    def stream(
        self, inputs: Sequence[InputType], batch_size: int = 1, num_workers: int = 0
    ) -> Iterator[Tuple[InputType, Union[DataSample, str]]]:
        """Predict images one batch after the other.

        Args:
            inputs (Sequence[str | np.ndarray]): Paths of images, or images.
            batch_size (int): Batch size. Defaults to 1.
            num_workers (int): Processes that read images. Defaults to 0: this process.

        Yields:
            tuple: The input, and its prediction or, where it cannot be read, the text of
            the error.
        """
        loader = DataLoader(
            _Images(inputs, self.load),
            batch_size=batch_size,
            num_workers=num_workers,
            collate_fn=list,
        )
        remaining = iter(inputs)
        for batch in loader:
            packed = [item for item in batch if not isinstance(item, str)]
            predictions = iter(self.forward(pseudo_collate(packed)) if packed else [])
            for item in batch:
                outcome = item if isinstance(item, str) else next(predictions)
                yield next(remaining), outcome

    def describe(
        self, image: InputType, outcome: Union[DataSample, str], top_k: int = 5
    ) -> dict:
        """A prediction in plain numbers.

        Args:
            image (str | np.ndarray): The input.
            outcome (DataSample | str): What :meth:`stream` gave for it.
            top_k (int): How many of the best classes to tell. Defaults to 5.

        Returns:
            dict: ``image``, the path or None; ``top``, the best classes, each with
            ``label``, ``name`` and ``score``; ``raw`` and ``refined``, the same for each
            stage alone, None for a stage that did not run; ``rois``, each with ``box``,
            ``level`` (0 is the lowest) and ``score``; ``merged_box``; boxes are (x1, y1,
            x2, y2) in pixels of the original image. ``error`` is None, or all that there
            is beside ``image``.
        """
        path = image if isinstance(image, str) else None
        if isinstance(outcome, str):
            return dict(image=path, error=outcome)
        stages = dict.fromkeys(('raw', 'refined'))
        names = [self.model.test_stage]
        if names == ['both']:
            names = ['raw', 'refined']
        for name, scores in zip(names, outcome.stage_scores):
            stages[name] = self._best(scores, top_k)
        result = dict(image=path, top=self._best(outcome.pred_score, top_k), **stages)
        result.update(rois=[], merged_box=None, error=None)
        if 'rois' in outcome:
            boxes = to_original(outcome.rois, outcome).tolist()
            result['rois'] = [
                dict(box=box, level=level, score=score)
                for box, level, score in zip(
                    boxes, outcome.roi_levels.tolist(), outcome.roi_scores.tolist()
                )
            ]
            result['merged_box'] = to_original(outcome.merged_box, outcome).tolist()
        return result

    def draw(self, image: InputType, outcome: DataSample, out_file: Optional[str] = None):
        """Draw a prediction and its ROIs on the original image.

        The longer side of the picture has at most ``PICTURE_SIZE`` pixels.

        Args:
            image (str | np.ndarray): The input.
            outcome (DataSample): Its prediction.
            out_file (str, optional): Where to save the picture. Defaults to None.

        Returns:
            np.ndarray: The picture, (H, W, 3) RGB.
        """
        if self.visualizer is None:
            self.visualizer = ROIVisualizer.get_instance('apcnn_inferencer')
        picture = imread(image)[..., ::-1]
        if max(picture.shape[:2]) > PICTURE_SIZE:
            picture = imrescale(picture, (PICTURE_SIZE, PICTURE_SIZE))
        return self.visualizer.visualize_cls(
            picture,
            outcome,
            original=True,
            classes=self.classes,
            draw_gt=False,
            out_file=out_file,
        )

    def _best(self, scores: Tensor, top_k: int) -> List[dict]:
        values, labels = scores.topk(min(top_k, len(scores)))
        return [
            dict(
                label=label, name=self.classes[label] if self.classes else None, score=score
            )
            for label, score in zip(labels.tolist(), values.tolist())
        ]
