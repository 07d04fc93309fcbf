"""Predictions in files: of many images, by one process or several, in one go or more."""

import csv
import json
import os
import os.path as osp
import shutil
import sys
from contextlib import suppress
from glob import escape, glob
from hashlib import blake2b, sha256
from itertools import accumulate, compress
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
)

import numpy as np

from .files import lock, replacing


class Task(NamedTuple):
    """What is to be done with an image.

    Attributes:
        image (str): Its path.
        picture (str, optional): The file to draw it in.
        is_written (bool): Whether its line is there already.
    """

    image: str
    picture: Optional[str]
    is_written: bool


class Tasks(Sequence):
    """The images that one process predicts, read one by one from a file of all tasks.

    Memory is not for a million paths, of which each worker would have a copy.

    Args:
        path (str): The file: a :class:`Task` in JSON each line.
        rank (int): The number of this process.
        world_size (int): How many processes there are. Each one takes every
            ``world_size``-th line.
    """

    def __init__(self, path: str, rank: int, world_size: int):
        self.path = path
        with open(path, 'rb') as file:
            ends = np.fromiter(accumulate(map(len, file)), np.int64)
        self.starts = np.append(0, ends)[:-1][rank::world_size]

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> str:
        """The path of an image."""
        return self.read(index).image

    def read(self, index: int) -> Task:
        """Read a task; workers share nothing, so that each one opens the file."""
        with open(self.path, 'rb') as file:
            file.seek(self.starts[index])
            return Task(*json.loads(file.readline()))


class PredictionFile:
    """A file of predictions, one JSON line each, that processes write together.

    The first process writes into the file itself, the others into ``PATH.part1`` and so
    on, which are joined to it at the end, or by the next run if this one is stopped. What
    lines are made with is in ``PATH.settings.json``, and during a run its tasks are in
    ``PATH.tasks``: all processes have the same ones, whatever happens to the images.

    Args:
        path (str): The file, in a folder that all processes share.
        rank (int): The number of this process. Defaults to 0.
        world_size (int): How many processes there are. Defaults to 1.
    """

    def __init__(self, path: str, rank: int = 0, world_size: int = 1):
        self.path = osp.abspath(path)
        self.rank, self.world_size = rank, world_size
        self._settings_path = self.path + '.settings.json'
        self._tasks_path = self.path + '.tasks'
        self._lock_file = None

    def prepare(
        self,
        settings: Dict[str, Any],
        images: Iterable[str],
        name_picture: Callable[[str], Optional[str]] = lambda image: None,
    ) -> int:
        """Put together what earlier runs have finished, and write down what is to be done.

        For the first process alone. An image is done again if its line is not whole or
        tells of an error, or if it has changed since then.

        Args:
            settings (dict[str, Any]): What the lines depend on, for JSON.
            images (Iterable[str]): Paths of images, iterated over several times. One that
                is there twice is predicted once.
            name_picture (Callable): The file for the picture of an image, or None.

        Returns:
            int: The number of images.

        Raises:
            OSError: If the files cannot be written.
            ValueError: If another process writes them, or if there are lines that were
                written with other settings.
        """
        os.makedirs(osp.dirname(self.path), exist_ok=True)
        files = [file for file in (self.path, *self._parts()) if osp.isfile(file)]
        if any(map(osp.getsize, files)):
            self._check_settings(settings)
        self._lock()
        wanted = _digests(images)
        is_first = _are_first(wanted)
        repeated = len(wanted) - is_first.sum()
        if repeated:
            print(f'{repeated} images are there twice or more, and predicted once.')
        written = np.fromiter(
            (_finished(line, time) for line, time in _read_lines(files)), 'S16'
        )
        keep = _are_first(written) & np.isin(written, wanted)
        if len(written):
            print(f'{keep.sum()} images are in {self.path} already.')
        lines = compress((line for line, _ in _read_lines(files)), keep)
        _replace(self._settings_path, [json.dumps(settings).encode()])
        _replace(self.path, lines)
        self._remove_parts()
        is_written = np.isin(wanted, written[keep]).tolist()
        _replace(self._tasks_path, _to_do(images, is_first, is_written, name_picture))
        return int(is_first.sum())

    def tasks(self) -> Tasks:
        """What is to be done by this process.

        Raises:
            FileNotFoundError: If the first process writes into another folder.
        """
        if not osp.isfile(self._tasks_path):
            raise FileNotFoundError(
                f'There is no {self._tasks_path}, which the first process has written. '
                f'{osp.dirname(self.path)} must be a folder that all nodes share.'
            )
        return Tasks(self._tasks_path, self.rank, self.world_size)

    def open(self):
        """Open the file of this process, for whole lines at the end."""
        path = f'{self.path}.part{self.rank}' if self.rank else self.path
        return open(path, 'a', buffering=1, encoding='utf-8')

    def join(self):
        """Put the lines of all processes, which have ended, into the one file.

        For the first process alone. The file is whole at any time.
        """
        parts = self._parts()
        if parts:
            with replacing(self.path) as temporary, open(temporary, 'wb') as whole:
                for part in (self.path, *parts):
                    with open(part, 'rb') as file:
                        shutil.copyfileobj(file, whole)
            self._remove_parts()
        os.remove(self._tasks_path)
        if self._lock_file is not None:
            self._lock_file.close()
            os.remove(self._lock_file.name)

    def _lock(self):
        """Keep other runs away until this one is joined, or its process ends."""
        self._lock_file = open(self.path + '.lock', 'a')
        with suppress(OSError):  # there are no locks here
            if not lock(self._lock_file):
                raise ValueError(
                    f'Another run writes into {self.path}. Wait for it, stop it, or choose '
                    'another --out.'
                )

    def _parts(self) -> List[str]:
        found = glob(escape(self.path) + '.part*')
        return sorted(part for part in found if part.rpartition('.part')[2].isdigit())

    def _remove_parts(self):
        for part in self._parts():
            os.remove(part)

    def _check_settings(self, settings):
        try:
            with open(self._settings_path, encoding='utf-8') as file:
                earlier = json.load(file)
        except (OSError, ValueError):  # none, or not whole
            earlier = None
        if not isinstance(earlier, dict) or not earlier:
            reason = f'{self._settings_path} cannot be read'
        else:
            changed = [key for key in settings if earlier.get(key) != settings[key]]
            if not changed:
                return
            reason = f'another {", ".join(changed)}'
        raise ValueError(
            f'{self.path} is there already, and was not written with these settings: '
            f'{reason}. Choose another --out or remove it.'
        )


def _digest(text: str) -> bytes:
    """16 bytes that no two paths share, for sets that are small and fast in NumPy."""
    # File names may have bytes that are no text.
    return blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=16).digest()


def _digests(texts):
    return np.fromiter(map(_digest, texts), 'S16')


def _are_first(digests):
    """Which ones have not been there before, (N, ), bool."""
    is_first = np.zeros(len(digests), bool)
    is_first[np.unique(digests, return_index=True)[1]] = True
    return is_first


def _read_lines(files):
    """Their lines, each with the time at which its file was changed."""
    for path in files:
        time = osp.getmtime(path)
        with open(path, 'rb') as file:
            for line in file:
                yield line, time


def _finished(line: bytes, time: float) -> bytes:
    """The digest of the image that need not be done again, or b''."""
    try:
        result = json.loads(line.decode())
        image, error = result['image'], result['error']
    except (ValueError, TypeError, KeyError):
        return b''
    if error is not None or not isinstance(image, str) or not line.endswith(b'\n'):
        return b''
    if osp.isfile(image) and osp.getmtime(image) > time:
        return b''
    return _digest(image)


def _to_do(images, is_first, is_written, name_picture) -> Iterator[bytes]:
    """The lines of the tasks."""
    for image, first, written in zip(images, is_first, is_written):
        picture = name_picture(image) if first else None
        if first and not (written and (picture is None or osp.isfile(picture))):
            yield json.dumps(Task(image, picture, written)).encode() + b'\n'


def _replace(path, lines):
    with replacing(path) as temporary, open(temporary, 'wb') as file:
        file.writelines(lines)


def lines_of_table(table_path: str) -> str:
    """The file of predictions that a table is to be made of, beside it.

    Args:
        table_path (str): The table.

    Raises:
        ValueError: If the table is there already, without these predictions.
    """
    lines_path = f'{table_path}.jsonl'
    if osp.isfile(table_path) and not osp.isfile(lines_path):
        raise ValueError(
            f'{osp.abspath(table_path)} is there already, but not '
            f'{osp.abspath(lines_path)}, which it would have been made of. Choose '
            'another --out or remove it'
        )
    return lines_path


def write_table(lines_path: str, table_path: str):
    """Make a table for spreadsheets, CSV, of a file of predictions.

    A row for each image, with its classes (``name_1`` is the best), what else has been
    decided and the merged box. Everything else remains in the lines.

    Args:
        lines_path (str): The predictions, JSON lines.
        table_path (str): The file to write. It is whole at any time.
    """
    # The longest row has all columns: others end in an error, or a cascade has not refined
    # them.
    columns = max(map(tuple, _rows(lines_path)), key=len, default=('image', 'error'))
    # Spreadsheets take it for UTF-8 by the mark at its beginning alone.
    text = dict(newline='', encoding='utf-8-sig', errors='replace')
    with replacing(table_path) as temporary, open(temporary, 'w', **text) as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(_rows(lines_path))


def _rows(path):
    with open(path, encoding='utf-8') as file:
        for line in file:
            yield to_row(json.loads(line))


def to_row(result: dict) -> Dict[str, Any]:
    """A prediction in one row of a table.

    Args:
        result (dict): See ``APCNNInferencer.describe``.

    Returns:
        dict[str, Any]: By the name of the column. All predictions of a model have the same
        ones, but those that a cascade has not refined lack what is refined, and those that
        ended in an error have ``image`` and ``error`` alone.
    """
    row = dict(image=result['image'])
    for i, best in enumerate(result.get('top', ()), start=1):
        row[f'name_{i}'], row[f'score_{i}'] = _name(best), best['score']
    for key in ('accepted', 'novelty'):
        if key in result:
            row[key] = result[key]
    if 'rollup' in result:
        rollup = result['rollup'] or {}
        row.update((f'rollup_{key}', rollup.get(key)) for key in ('rank', 'name', 'score'))
    for stage in ('raw', 'refined'):
        if result.get(stage):
            best = result[stage][0]
            row[stage], row[f'{stage}_score'] = _name(best), best['score']
    if result.get('merged_box'):
        row.update(zip(('x1', 'y1', 'x2', 'y2'), result['merged_box']))
    row.update((key, result[key]) for key in ('width', 'height') if key in result)
    return {**row, 'error': result['error']}


def _name(best):
    return best['label'] if best['name'] is None else best['name']


def tell_outcome(path: str, number: int, errors: int):
    """Tell what a run has done.

    Args:
        path (str): The file of the predictions.
        number (int): How many images there were.
        errors (int): How many of them could not be predicted.

    Raises:
        SystemExit: If none could be.
    """
    print(f'\n{number} images: {osp.abspath(path)}')
    if errors:
        print(f'{errors} of them could not be predicted: see their "error".')
    if errors == number:
        sys.exit('No image could be predicted.')


def digest(value: Any) -> str:
    """A fingerprint of what JSON can hold."""
    text = json.dumps(value, sort_keys=True, default=str)
    return sha256(text.encode()).hexdigest()


def digest_file(path: str) -> str:
    """A fingerprint of a file's content: it may change under its name."""
    found = sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            found.update(block)
    return found.hexdigest()


def digest_input(path: str, images: Iterable[str]) -> str:
    """What a run predicts. A folder may get more images; a list is another one then.

    Lines have the paths as they were typed: typed otherwise, or relative to another
    folder, they would not be found again.
    """
    if osp.isdir(path):
        return f'{osp.abspath(path)}, typed as {osp.join(path, "")}'
    paths = sha256()
    for image in images:
        paths.update(os.fsencode(f'{image}\0{osp.abspath(image)}\0'))
    return paths.hexdigest()
