"""Predictions as JSON lines, in a file that a stopped run goes on with."""

import argparse
import hashlib
import json
import os
import os.path as osp
import sys
from typing import IO, Iterable, List, Optional, Sequence, Set, Tuple

import numpy as np

from .files import IMAGE_EXTENSIONS, read_lines

STAGES = ('raw', 'refined')


def add_arguments(parser: argparse.ArgumentParser):
    """Add the arguments that prediction scripts share, but for the ``input``."""
    parser.add_argument('--out', required=True, help='the file to write, JSON lines')
    parser.add_argument('--top-k', type=int, default=5, help='how many classes to tell')
    parser.add_argument('--batch-size', type=int, default=16)


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace):
    """End with a message where one of these arguments, or ``input``, is of no use."""
    if not osp.exists(args.input):
        parser.error(f'there is no {osp.abspath(args.input)}')
    if osp.isdir(args.out):
        parser.error(f'--out must be a file, but {osp.abspath(args.out)} is a folder')
    for option, value in (('--top-k', args.top_k), ('--batch-size', args.batch_size)):
        if value < 1:
            parser.error(f'{option} must be at least 1, not {value}')


def read_list(path: str) -> List[str]:
    """The images of a text file with one path a line, each once.

    Args:
        path (str): The text file.

    Raises:
        ValueError: If it is no text file in UTF-8, or has no lines.
    """
    try:
        lines = list(read_lines(path).values())
    except ValueError as error:
        raise ValueError(
            f'{osp.abspath(path)} is neither a text file in UTF-8 with paths nor an image '
            f'with one of the endings {", ".join(IMAGE_EXTENSIONS)}.'
        ) from error
    if not lines:
        raise ValueError(f'There are no images in {osp.abspath(path)}: it has no lines.')
    images = list(dict.fromkeys(lines))
    if len(images) < len(lines):
        print(f'{len(lines) - len(images)} lines of {path} are there twice or more.')
    return images


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


def digest(value: object) -> str:
    """A fingerprint of what JSON can hold."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_file(path: str) -> str:
    """A fingerprint of a file's content: it may change under its name."""
    found = hashlib.sha256()
    with open(path, 'rb') as file:
        for block in iter(lambda: file.read(1 << 20), b''):
            found.update(block)
    return found.hexdigest()


def digest_input(path: str, images: Sequence[str]) -> str:
    """What a run predicts. A folder may get more images; a list is another one then."""
    source = osp.abspath(path)
    if osp.isdir(source):
        return source
    return digest([osp.abspath(image) for image in images])


def read_earlier(path: str) -> dict:
    """The settings of an earlier run, {} where they cannot be read."""
    try:
        with open(path, encoding='utf-8') as file:
            settings = json.load(file)
    except (OSError, ValueError):  # none, or not whole
        return {}
    return settings if isinstance(settings, dict) else {}


def read_done(path: str) -> dict:
    """The lines of an earlier run that need not be done again, by image.

    A line that is not whole, images that could not be read and those that have changed
    since then are done again.
    """
    done = {}
    written = osp.getmtime(path)
    with open(path, encoding='utf-8', errors='replace') as file:
        for line in file:
            try:
                result = json.loads(line)
                image, error = result['image'], result['error']
            except (ValueError, TypeError, KeyError):
                continue
            if not isinstance(image, str):
                continue
            changed = osp.isfile(image) and osp.getmtime(image) > written
            if line.endswith('\n') and error is None and not changed:
                done[image] = line
    return done


def open_output(
    path: str, settings: dict, images: Sequence[str]
) -> Tuple[IO[str], Set[str]]:
    """Open the output, with what an earlier run with the same settings has finished.

    Args:
        path (str): The file.
        settings (dict): What the lines depend on.
        images (Sequence[str]): The images that are wanted.

    Returns:
        tuple[IO, set[str]]: The file, and the images that are in it.

    Raises:
        SystemExit: If it cannot be written, or was written with other settings.
    """
    path = osp.abspath(path)
    settings_path = path + '.settings.json'
    try:
        os.makedirs(osp.dirname(path), exist_ok=True)
        done = {}
        if osp.isfile(path) and osp.getsize(path):
            earlier = read_earlier(settings_path)
            changed = [key for key in settings if earlier.get(key) != settings[key]]
            if changed:
                sys.exit(
                    f'{path} is there already, and was not written with these settings: '
                    + (
                        f'another {", ".join(changed)}.'
                        if earlier
                        else f'{settings_path} cannot be read.'
                    )
                    + ' Choose another --out or remove it.'
                )
            done = read_done(path)
            done = {image: done[image] for image in images if image in done}
            print(f'{len(done)} images are in {path} already.')
        _replace(settings_path, json.dumps(settings))
        _replace(path, ''.join(done.values()))
        return open(path, 'a', encoding='utf-8'), set(done)
    except OSError as error:
        sys.exit(f'{path} cannot be written: {error}')


def _replace(path, text):
    """Write a file that is whole at any time."""
    with open(path + '.tmp', 'w', encoding='utf-8') as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + '.tmp', path)


def write_results(
    out: IO[str], done: Set[str], images: Sequence[str], results: Iterable[dict]
):
    """Write lines as they come, and tell what there was.

    Args:
        out (IO): The file of :func:`open_output`.
        done (set[str]): The images that are in it.
        images (Sequence[str]): All images that were wanted.
        results (Iterable[dict]): The lines, of others or of these images.

    Raises:
        KeyboardInterrupt: At Ctrl-C, with a text for the user.
        SystemExit: If no image could be predicted.
    """
    errors = 0
    try:
        for result in results:
            errors += result['error'] is not None
            if result['image'] not in done:
                out.write(json.dumps(result, allow_nan=False) + '\n')
                out.flush()
    except KeyboardInterrupt:
        raise KeyboardInterrupt('The same command goes on from here.') from None
    finally:
        out.close()
    print(f'\n{len(images)} images: {out.name}')
    if errors:
        print(f'{errors} of them could not be predicted: see their "error".')
    if errors == len(images):
        sys.exit('No image could be predicted.')
