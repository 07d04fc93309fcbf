"""A model that tools/deployment/export.py has written, on pictures in files."""

import json
import os.path as osp
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

from . import METADATA
from .lines import STAGES, describe
from .pictures import draw_attention, draw_rois
from .taxonomy import Taxonomy


class Prepared(NamedTuple):
    """A picture that has been read.

    Attributes:
        size (tuple[int, int]): Width and height, turned as the EXIF orientation says.
        pixels (np.ndarray): The model's input, uint8 RGB (H, W, 3).
        original (np.ndarray | None): What it was made of, uint8 RGB (H', W', 3), where the
            model takes that.
    """

    size: Tuple[int, int]
    pixels: np.ndarray
    original: Optional[np.ndarray]


class ONNXModel:
    """An exported model and how pictures are made ready for it.

    Args:
        path (str): The ONNX file.

    Attributes:
        session (onnxruntime.InferenceSession): The model.
        metadata (dict): What the file tells about itself.
        taxonomy (Taxonomy | None): The names above the classes, where the file has them.
        confidence (float | None): The probability that the roll-up must reach.

    Raises:
        ValueError: If it is no such file, or one that takes no pictures.
    """

    def __init__(self, path: str):
        try:
            # Others, such as TensorRT, take minutes for each size, or round otherwise.
            wanted = ('CUDAExecutionProvider', 'CPUExecutionProvider')
            available = onnxruntime.get_available_providers()
            self.session = onnxruntime.InferenceSession(
                path, providers=[name for name in wanted if name in available]
            )
        except Exception as error:  # of ONNX Runtime's own classes
            raise ValueError(f'{osp.abspath(path)} is no ONNX model: {error}') from error
        metadata = self.session.get_modelmeta().custom_metadata_map.get(METADATA)
        if metadata is None:
            raise ValueError(
                f'{osp.abspath(path)} was not written by tools/deployment/export.py.'
            )
        self.metadata = json.loads(metadata)
        taxonomy = dict(self.metadata.get('taxonomy') or {})
        self.confidence = taxonomy.pop('confidence', None)
        self.taxonomy = Taxonomy(**taxonomy) if taxonomy else None
        if not self.metadata['input'].startswith('uint8'):
            raise ValueError(
                f'{osp.abspath(path)} takes {self.metadata["input"]}, not pictures: export '
                'it without --no-preprocess.'
            )

    def stream(
        self, images: Sequence[str], batch_size: int = 1, top_k: int = 5
    ) -> Iterator[dict]:
        """Predict images one batch after the other.

        Args:
            images (Sequence[str]): Their paths.
            batch_size (int): Batch size. Defaults to 1.
            top_k (int): How many of the best classes to tell. Defaults to 5.

        Yields:
            dict: See :func:`describe`. For an image that cannot be read, its ``image`` and
            ``error``.
        """
        for start in range(0, len(images), batch_size):
            results, read = [], {}
            for i in range(min(batch_size, len(images) - start)):
                image = images[start + i]
                results.append(dict(image=image))
                try:
                    read[i] = self.read(image)
                except Exception as error:  # Pillow raises errors of all kinds
                    results[i]['error'] = f'{type(error).__name__}: {error}'
            for batch in self._batches(read):
                outputs = self.run(list(batch.values()))
                for row, (i, picture) in enumerate(batch.items()):
                    found = {name: output[row] for name, output in outputs.items()}
                    results[i] = self._describe(
                        results[i]['image'], picture.size, found, top_k
                    )
            yield from results

    def _batches(self, read):
        """Pictures of which a second look is at the originals go by their sizes."""
        batches = {}
        for i, picture in read.items():
            shape = picture.original.shape if self.takes_originals else None
            batches.setdefault(shape, {})[i] = picture
        return batches.values()

    def answer(
        self, paths: Sequence[str], top_k: int
    ) -> Iterator[Tuple[dict, Optional[np.ndarray]]]:
        """For :class:`apcnn_runtime.page.Model`: predictions, and pictures of them."""
        for path, result in zip(paths, self.stream(paths, 8, top_k)):
            picture = None
            if result['error'] is None:
                picture = draw_rois(
                    open_picture(path), result['rois'], result['merged_box']
                )
            yield result, picture

    def show(self, path: str) -> Optional[np.ndarray]:
        """For :class:`apcnn_runtime.page.Model`: ROIs beside each level's attention.

        Args:
            path (str): The file of a picture.

        Returns:
            np.ndarray | None: The model's input in a row, the attention from the high to
            the low level. None where the model has none.
        """
        picture = self.read(path)
        pixels = picture.pixels
        found = {name: output[0] for name, output in self.run([picture]).items()}
        names = [name for name in found if name.startswith('attention_')]
        if not names:
            return None
        boxes = self._rois(found, found['rois'].tolist())
        drawn = draw_rois(Image.fromarray(pixels), boxes, found['merged_box'].tolist())
        overlays = [draw_attention(pixels, found[name]) for name in reversed(names)]
        return np.concatenate([drawn, *overlays], axis=1)

    def read(self, path: str) -> Prepared:
        """Read a picture and make it ready.

        Args:
            path (str): The file.

        Returns:
            Prepared: The picture.

        Raises:
            OSError: If there is no such file, or it is none that Pillow reads.
            ValueError: If it is no regular file.
        """
        picture = open_picture(path)
        size = picture.size
        largest = self.metadata.get('original_size')
        if largest is not None and max(size) > largest:
            sides = [max(1, round(side * largest / max(size))) for side in size]
            picture = picture.resize(sides, Image.Resampling.BILINEAR)
        resized = picture.resize(self.metadata['resize'], Image.Resampling.BILINEAR)
        x, y = self._corner()
        height, width = self.metadata['crop']
        pixels = np.asarray(resized)[y : y + height, x : x + width]
        original = np.asarray(picture) if self.takes_originals else None
        return Prepared(size, pixels, original)

    def run(self, pictures: Sequence[Prepared]) -> dict:
        """Run the model.

        Args:
            pictures (Sequence[Prepared]): A batch. Where the model takes the originals,
                these have one size.

        Returns:
            dict[str, np.ndarray]: The outputs by their names, (N, ...).
        """
        inputs = dict(images=np.stack([picture.pixels for picture in pictures]))
        if self.takes_originals:
            originals = np.stack([picture.original for picture in pictures])
            scale = np.divide(originals.shape[2:0:-1], self.metadata['resize'])
            view = np.concatenate([scale, scale * self._corner()]).astype(np.float32)
            inputs.update(originals=originals, views=np.tile(view, (len(pictures), 1)))
        names = self.metadata['outputs']
        return dict(zip(names, self.session.run(names, inputs)))

    @property
    def takes_originals(self) -> bool:
        """Whether the second look is at the original pictures."""
        return 'originals' in self.metadata

    def _corner(self) -> List[int]:
        """x and y of the crop in the resized picture, rounded as mmcv's CenterCrop."""
        sizes = zip(self.metadata['resize'], reversed(self.metadata['crop']))
        return [max(0, round((resized - side) / 2)) for resized, side in sizes]

    def _describe(self, image: Optional[str], size, found, top_k) -> dict:
        stages = {
            name: found[f'{name}_scores'] for name in STAGES if f'{name}_scores' in found
        }
        if not found.get('is_refined', True):
            del stages['refined']
        rois, merged_box = [], None
        if 'rois' in found:
            scale = np.array(self.metadata['resize']) / size

            def to_original(boxes):
                return ((boxes + np.array(self._corner() * 2)) / np.tile(scale, 2)).tolist()

            rois = self._rois(found, to_original(found['rois']))
            merged_box = to_original(found['merged_box'])
        result = describe(
            image=image,
            size=size,
            scores=found['scores'],
            stages=stages,
            novelty=float(found['novelty']),
            accepted=bool(found['accepted']) if self.metadata['has_threshold'] else None,
            rois=rois,
            merged_box=merged_box,
            classes=self.metadata['classes'],
            top_k=top_k,
        )
        if self.taxonomy is not None and result['error'] is None:
            names = self.taxonomy.describe(found['scores'], self.confidence, top_k)
            result.update(names)
        return result

    def _rois(self, found, boxes) -> List[dict]:
        """The ROIs of an image, those of K boxes that are valid."""
        levels, scores = self.metadata['roi_levels'], found['roi_scores'].tolist()
        rows = zip(boxes, levels, scores, found['roi_valid'])
        return [
            dict(box=box, level=level, score=score)
            for box, level, score, valid in rows
            if valid
        ]


def open_picture(path: str) -> Image.Image:
    """Open a picture, turned as its EXIF orientation says.

    Args:
        path (str): The file.

    Returns:
        Image: In RGB.

    Raises:
        OSError: If there is no such file, or it is none that Pillow reads.
        ValueError: If it is no regular file, or its pixels are no whole numbers.
    """
    if osp.exists(path) and not osp.isfile(path):  # opening a pipe would wait for ever
        raise ValueError(f'{path} is a folder, pipe or device, not an image file.')
    with Image.open(path) as image:
        if image.mode == 'F':
            raise ValueError(
                f'{path} has floating-point pixels, not those of an image of 8 or 16 bits.'
            )
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith('I'):  # 16 bits, which Pillow would cut off at 255
            grey = np.asarray(image) // 256
            image = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
        return image.convert('RGB')
