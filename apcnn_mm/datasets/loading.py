"""Reading images, with one error that names the file."""

import io
import os
import stat
import struct
from typing import Optional, Tuple, Union

import cv2
import mmcv
import numpy as np
from mmcv.image.io import imread_flags
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from ..arguments import check_choice, check_number, check_type
from ..registry import TRANSFORMS as OWN_TRANSFORMS
from .resize import to_size

# Where Pillow refuses an image as a decompression bomb: half a gigabyte of pixels.
MAX_PIXELS = 178956970
# From the DCT of its 8 x 8 blocks, a JPEG is decoded at these fractions of its size.
REDUCTIONS = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
}
# So many times the pixels that are asked for must be left each way. Resized from there to
# 600 x 600, photographs of 12 megapixels were 0.3 to 0.7 grey levels on average from those
# decoded in full, and a mosaic that is sharp in each pixel 1.2; with a gap of 2 it is 0.3,
# and takes half as long again.
REDUCING_GAP = 1.25
BACKENDS = ('cv2', 'pillow', 'turbojpeg', 'tifffile')
COLOR_TYPES = (
    'color',
    'grayscale',
    'unchanged',
    'color_ignore_orientation',
    'grayscale_ignore_orientation',
)


# AP-CNN: mmpretrain's inferencers and verify_dataset.py look for this very name.
@OWN_TRANSFORMS.register_module(name='LoadImageFromFile')
@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """Load an image from a file; what is no image ends in an error with its path.

    On top of mmcv's :class:`LoadImageFromFile`, folders, pipes and devices are never
    opened, and an image's size is read from its header before it is decoded: a file of
    some megabytes can hold gigabytes of pixels. An image that is there already is left as
    it is: mmpretrain's inferencers load images themselves, and only know to take
    ``LoadImageFromFile`` out of a pipeline. In the scope ``apcnn_mm`` it has that name,
    too.

    With ``scale_hint``, large JPEGs are decoded at a half, a quarter or an eighth of their
    size, which takes a fraction of the time. ``ori_shape`` is still that of the whole
    image. The pipeline then needs :class:`AntialiasedResize`, which knows what that means.

    **Required Keys:**

    - img_path

    **Modified Keys:**

    - img
    - img_shape
    - ori_shape

    **Added Keys:**

    - scale_hint (with ``scale_hint``)
    - scale_factor (where an image is decoded at a fraction of its size)

    Args:
        scale_hint (int | tuple[int, int], optional): The size that the pipeline resizes
            to, (width, height), or one number for both. JPEGs are decoded at the smallest
            fraction that still has a quarter more pixels each way and divides both sides.
            This is for the backend 'cv2' and all but 'unchanged' colours. Defaults to
            None: all images are decoded in full.
        max_pixels (int, optional): The largest number of pixels, width times height.
            Defaults to 178956970, Pillow's. None is no limit, but for those of the
            decoder.
        to_float32 (bool): Whether to convert the image to float32. Defaults to False.
        color_type (str): 'color', 'grayscale' or 'unchanged', or one of the first two
            with '_ignore_orientation'. Defaults to 'color'.
        imdecode_backend (str): 'cv2', 'pillow', 'turbojpeg' or 'tifffile'. Defaults to
            'cv2'.
        ignore_empty (bool): Whether to return None instead of an error. In training,
            another image is then drawn. Defaults to False.
        backend_args (dict, optional): The file backend, see :func:`mmengine.fileio.get`.
            Defaults to None.

    Raises:
        OSError: If the file cannot be opened, such as :class:`FileNotFoundError`.
        ValueError: If it is no regular file, empty, too large or no image.
    """

    def __init__(
        self,
        scale_hint: Union[int, Tuple[int, int], None] = None,
        max_pixels: Optional[int] = MAX_PIXELS,
        to_float32: bool = False,
        color_type: str = 'color',
        imdecode_backend: str = 'cv2',
        ignore_empty: bool = False,
        backend_args: Optional[dict] = None,
    ):
        if scale_hint is not None:
            scale_hint = to_size('LoadImage.scale_hint', scale_hint)
        if max_pixels is not None:
            check_number('LoadImage.max_pixels', max_pixels, minimum=1, integer=True)
        check_choice('LoadImage.to_float32', to_float32, (True, False))
        check_choice('LoadImage.color_type', color_type, COLOR_TYPES)
        check_choice('LoadImage.imdecode_backend', imdecode_backend, BACKENDS)
        check_choice('LoadImage.ignore_empty', ignore_empty, (True, False))
        check_type('LoadImage.backend_args', backend_args, dict, type(None))
        super().__init__(
            to_float32=to_float32,
            color_type=color_type,
            imdecode_backend=imdecode_backend,
            ignore_empty=ignore_empty,
            backend_args=backend_args,
        )
        self.max_pixels = max_pixels
        self.scale_hint = scale_hint

    def transform(self, results: dict) -> Optional[dict]:
        """Load the image.

        Args:
            results (dict): A sample of a data set.

        Returns:
            dict | None: The same with the image, (H, W, 3) BGR or (H, W), and its shapes.
            None for what is no image, with ``ignore_empty``. A sample without a path
            has its image already: mmpretrain's inferencers take out the loading of mmcv
            alone.
        """
        if 'img' in results:
            return results
        try:
            image, reduction = self._load(results['img_path'])
        except (OSError, ValueError):
            if self.ignore_empty:
                return None
            raise
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        height, width = image.shape[:2]
        results['img_shape'] = (height, width)
        results['ori_shape'] = (height * reduction, width * reduction)
        if self.scale_hint is not None:
            results['scale_hint'] = self.scale_hint
        if reduction > 1:
            results['scale_factor'] = (1 / reduction, 1 / reduction)
        return results

    def _load(self, path):
        backend = fileio.get_file_backend(
            path, backend_args=self.backend_args, enable_singleton=True
        )
        if isinstance(backend, fileio.LocalBackend):
            path = os.path.abspath(path)
            # Opening a pipe would wait for ever.
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise ValueError(f'{path} is a folder, pipe or device, not an image file.')
        content = backend.get(path)
        if not content:
            raise ValueError(f'{path} is empty.')
        size = image_size(content)
        self._check_size(path, size)
        reduction = self._reduction(content, size)
        flag = self.color_type
        if reduction > 1:
            flag = imread_flags[flag] | REDUCTIONS[reduction]
        backend = self.imdecode_backend
        if backend == 'cv2' and content[:4] == b'RIFF' and content[8:12] == b'WEBP':
            backend = 'pillow'  # OpenCV does not turn WebP as its EXIF orientation says
        try:
            image = mmcv.imfrombytes(content, flag=flag, backend=backend)
        except Exception as error:  # decoders raise errors of all kinds
            raise ValueError(f'{path} cannot be decoded: {error}') from error
        if image is None:
            raise ValueError(
                f'{path} is truncated, damaged or not an image of 8 or 16 bits.'
            )
        return image, reduction

    def _reduction(self, content, size):
        """How many pixels of the file, each way, are decoded as one."""
        if (
            self.scale_hint is None
            or size is None
            or not content.startswith(b'\xff\xd8\xff')  # other formats gain nothing
            or self.imdecode_backend != 'cv2'
            or self.color_type == 'unchanged'
        ):
            return 1
        # EXIF may turn it.
        needed = REDUCING_GAP * max(self.scale_hint)
        for reduction in REDUCTIONS:
            # Otherwise the last pixels of the file would be a part of a pixel.
            whole = all(side % reduction == 0 for side in size)
            if whole and min(size) >= reduction * needed:
                return reduction
        return 1

    def _check_size(self, path, size):
        if None not in (size, self.max_pixels) and size[0] * size[1] > self.max_pixels:
            raise ValueError(
                f'{path} has {size[0]} x {size[1]} pixels, more than the {self.max_pixels} '
                'that its loading allows. Save it smaller, or give LoadImage in the '
                'pipelines a larger max_pixels (None: no limit).'
            )

    def __repr__(self):
        return (
            f'{super().__repr__()[:-1]}, scale_hint={self.scale_hint}, '
            f'max_pixels={self.max_pixels})'
        )


def image_size(content: bytes) -> Optional[Tuple[int, int]]:
    """Width and height of an image from its header; nothing is decoded.

    Args:
        content (bytes): The file.

    Returns:
        tuple[int, int] | None: None where neither PNG nor a format of Pillow is seen.
    """
    if content.startswith(b'\x89PNG\r\n\x1a\n') and len(content) >= 24:
        # Pillow refuses long text chunks, which decoders leave out.
        return struct.unpack('>II', content[16:24])
    if content.startswith(b'\xff\xd8\xff'):
        size = _jpeg_size(content)
        if size is not None:
            return size
    # Not Image.open: it has a limit of its own.
    Image.init()
    for factory, accept in Image.OPEN.values():
        try:
            # Formats without a signature would be seen in anything.
            if accept and accept(content[:16]) is True:
                return factory(io.BytesIO(content), '').size
        except Exception:  # Pillow's plugins raise errors of all kinds
            continue
    return None


def _jpeg_size(content):
    """As :func:`image_size`, ten times as fast as by Pillow, which reads all metadata."""
    position = 2
    while position + 9 <= len(content):
        marker, kind, length = struct.unpack_from('>BBH', content, position)
        if marker != 0xFF or not 0xC0 <= kind < 0xFF or length < 2:
            return None
        if kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):  # frames, but no tables
            height, width = struct.unpack_from('>HH', content, position + 5)
            return (width, height) if width and height else None
        position += 2 + length
    return None
