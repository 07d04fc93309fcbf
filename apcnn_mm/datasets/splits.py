"""The splits of a config and their pictures, as training would see them."""

import hashlib
import os.path as osp
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.utils import track_parallel_progress, track_progress
from mmpretrain.registry import DATASETS

from .loading import LoadImage


class Picture(NamedTuple):
    """What an image file holds, or why it is of no use."""

    size: Optional[Tuple[int, int]] = None  # (width, height)
    digest: Optional[str] = None  # of the pixels
    error: Optional[str] = None


class Split(NamedTuple):
    """A data set of the config."""

    name: str
    dataset: object
    samples: List[dict]

    @property
    def paths(self):
        return [osp.abspath(sample['img_path']) for sample in self.samples]

    @property
    def classes(self):
        return list(self.dataset.metainfo.get('classes') or ())

    @property
    def root(self):
        # Data sets that join others, for example, have none of their own.
        root = getattr(self.dataset, 'data_root', None)
        return osp.abspath(root) if root else osp.commonpath(self.paths)

    @property
    def loading(self):
        """The first transform of the pipeline; that of the first of joined data sets."""
        for pipeline in pipelines(self.dataset):
            if getattr(pipeline, 'transforms', None):
                return pipeline.transforms[0]
        return LoadImage()


def pipelines(dataset) -> Iterator[Compose]:
    """The pipelines of a data set, or of those that it joins, repeats or divides."""
    if hasattr(dataset, 'pipeline'):
        yield dataset.pipeline
        return
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    for part in inner:
        if part is not None:
            yield from pipelines(part)


def fingerprint(dataset) -> dict:
    """What tells the images of a data set from others, wherever their folder is.

    Args:
        dataset (Dataset): The data set.

    Returns:
        dict: ``images``, their number, and ``digest``, of the names of up to 2000 of them.
    """
    number = len(dataset)
    names = []
    for i in range(0, number, max(1, number // 1000)):
        info = dataset.get_data_info(i) if hasattr(dataset, 'get_data_info') else {}
        names.append('/'.join(Path(str(info.get('img_path'))).parts[-2:]))
    digest = hashlib.sha1('\n'.join(names).encode()).hexdigest()[:16]
    return dict(images=number, digest=digest)


def build_splits(cfg: Config) -> Tuple[List[Split], List[str]]:
    """The splits, and why some of them cannot be built."""
    loaders = {name: cfg.get(f'{name}_dataloader') for name in ('train', 'val', 'test')}
    configs = {name: loader.dataset for name, loader in loaders.items() if loader}
    if 'val' in configs and configs['val'] == configs.get('test'):
        configs['val and test'] = configs.pop('val')
        del configs['test']
    splits, errors = [], {}
    for name, config in configs.items():
        try:
            dataset = DATASETS.build(config)
            samples = [dataset.get_data_info(i) for i in range(len(dataset))]
            if not samples:
                raise ValueError(f'{type(dataset).__name__} has no images.')
        except Exception as error:  # whatever it is, training would end with it
            errors.setdefault(f'{type(error).__name__}: {error}', []).append(name)
        else:
            splits.append(Split(name, dataset, samples))
    return splits, [f'{", ".join(names)}: {error}' for error, names in errors.items()]


def open_pictures(split: Split, processes: int) -> Dict[str, Picture]:
    """The pictures of a split by their paths."""
    paths = sorted(set(split.paths))
    task = partial(open_picture, split.loading)
    if processes > 1:
        opened = track_parallel_progress(
            task,
            paths,
            processes,
            # At Ctrl-C only this process has something to say.
            initializer=signal.signal,
            initargs=(signal.SIGINT, signal.SIG_IGN),
            chunksize=8,
            file=sys.stderr,
        )
    else:
        opened = track_progress(task, paths, file=sys.stderr)
    return dict(zip(paths, opened))


def open_picture(loading: BaseTransform, path: str) -> Picture:
    """Open an image by the transform that opens it in training."""
    try:
        results = loading(dict(img_path=path))
    except FileNotFoundError:
        return Picture(error='missing')
    except Exception as error:  # training would end with it
        return Picture(error=f'{type(error).__name__}: {error}')
    if results is None:
        return Picture(error=f'{type(loading).__name__} leaves it out')
    image = results['img']
    height, width = results['ori_shape'][:2]
    digest = hashlib.sha1(repr(image.shape).encode() + image.tobytes()).hexdigest()
    return Picture((width, height), digest)
