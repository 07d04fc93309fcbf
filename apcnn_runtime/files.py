"""Files on the disk: finding images, reading lists of them, and writing."""

import errno
import os
import stat
import tempfile
from contextlib import contextmanager, suppress
from typing import IO, Dict, Iterator, List, NamedTuple, Optional, Tuple

try:
    import fcntl
except ImportError:  # Windows has no locks that end with their process
    fcntl = None

# What OpenCV reads of the pictures that people have.
IMAGE_EXTENSIONS = (
    '.jpg',
    '.jpeg',
    '.png',
    '.bmp',
    '.tif',
    '.tiff',
    '.webp',
    '.ppm',
    '.pgm',
)
# What file managers, network storage and archives leave behind, beside names with a dot.
SYSTEM_NAMES = {
    '$recycle.bin',
    '#recycle',
    '@__thumb',
    '@eadir',
    '__macosx',
    'desktop.ini',
    'ehthumbs.db',
    'icon\r',
    'lost+found',
    'system volume information',
    'thumbs.db',
}


class FoundFiles(NamedTuple):
    """What lies in a folder and its subfolders: paths below it, sorted.

    Attributes:
        images (list[str]): Files that are images by their names (``IMAGE_EXTENSIONS``).
        hidden (list[str]): Hidden files and folders, and those of the system. What is in
            these folders is not looked at.
        unusable (list[str]): Pipes and devices, links that lead nowhere, links to a
            folder that has been seen already or that the folder itself lies in, folders
            that cannot be opened, and those with the name of an image, although what is
            in them is looked at.
        others (list[str]): Other files.
    """

    images: List[str]
    hidden: List[str]
    unusable: List[str]
    others: List[str]


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden or the system's, by its name."""
    return name.startswith('.') or name.lower() in SYSTEM_NAMES


def find_files(folder: str) -> FoundFiles:
    """Sort what lies in a folder and its subfolders; nothing is opened.

    Links to folders are followed, but none in circles.

    Args:
        folder (str): The folder.

    Returns:
        FoundFiles: Paths relative to the folder.
    """
    found = FoundFiles([], [], [], [])
    root = os.path.realpath(folder)
    seen, waiting = {root}, ['']
    while waiting:
        relative = waiting.pop()
        try:
            names = sorted(os.listdir(os.path.join(folder, relative)), reverse=True)
        except PermissionError:
            if not relative:
                raise
            found.unusable.append(relative)
            continue
        for name in names:
            below = os.path.join(relative, name)
            path = os.path.join(folder, below)
            try:
                mode = os.stat(path).st_mode
            except OSError:  # a link to nowhere or to itself
                mode = 0
            if is_hidden(name):
                found.hidden.append(below)
            elif stat.S_ISDIR(mode):
                real = os.path.realpath(path)
                again = real in seen or root.startswith(os.path.join(real, ''))
                if again or name.lower().endswith(IMAGE_EXTENSIONS):
                    found.unusable.append(below)
                if not again:
                    seen.add(real)
                    waiting.append(below)
            elif not stat.S_ISREG(mode):
                found.unusable.append(below)
            elif name.lower().endswith(IMAGE_EXTENSIONS):
                found.images.append(below)
            else:
                found.others.append(below)
    for paths in found:
        paths.sort()
    return found


def find_folders(folder: str) -> List[str]:
    """The names of the folders in a folder that are not hidden, sorted."""
    names = sorted(os.listdir(folder))
    return [n for n in names if not is_hidden(n) and os.path.isdir(os.path.join(folder, n))]


def read_lines(file: str) -> Dict[int, str]:
    """Read a text file, with or without a byte order mark, but for its empty lines.

    Args:
        file (str): The file.

    Returns:
        dict[int, str]: The lines by their numbers, which count from 1, without white
        space around them.

    Raises:
        ValueError: If it is not in UTF-8.
    """
    try:
        with open(file, encoding='utf-8-sig') as stream:
            lines = list(stream)
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{os.path.abspath(file)} is not a text file in UTF-8 ({error}). Save it as '
            'UTF-8.'
        ) from error
    return {i + 1: line.strip() for i, line in enumerate(lines) if line.strip()}


def list_folder(folder: str) -> Tuple[List[str], Optional[str]]:
    """The images in a folder and its subfolders, by their names.

    Args:
        folder (str): The folder.

    Returns:
        tuple[list[str], str | None]: Their paths, those that cannot be used among them,
        and what to tell about the other files.

    Raises:
        FileNotFoundError: If there are none.
    """
    found = find_files(folder)
    names = sorted(found.images + found.unusable)
    if not names:
        raise FileNotFoundError(
            f'There are no images in {os.path.abspath(folder)}. Expected are files with '
            f'{", ".join(IMAGE_EXTENSIONS)}.'
        )
    left_out = []
    if found.hidden:
        left_out.append(f'{len(found.hidden)} hidden (such as {found.hidden[0]})')
    if found.others:
        left_out.append(
            f'{len(found.others)} that are no images by their names (such as '
            f'{found.others[0]}; images end in {", ".join(IMAGE_EXTENSIONS)})'
        )
    note = None
    if left_out:
        note = f'{os.path.abspath(folder)}: left out are files, {" and ".join(left_out)}.'
    return [os.path.join(folder, name) for name in names], note


class ImageList:
    """The paths in a text file, read anew each time: there may be a million.

    Args:
        path (str): The file, in UTF-8.

    Raises:
        ValueError: If it is no such file, or has no lines.
    """

    def __init__(self, path: str):
        self.path = path
        if next(iter(self), None) is None:
            raise ValueError(
                f'There are no images in {os.path.abspath(path)}: it has no lines.'
            )

    def __iter__(self) -> Iterator[str]:
        try:
            with open(self.path, encoding='utf-8-sig') as file:
                yield from filter(None, map(str.strip, file))
        except UnicodeDecodeError as error:
            raise ValueError(
                f'{os.path.abspath(self.path)} is neither a text file in UTF-8 with paths '
                'nor an image with one of the endings '
                f'{", ".join(IMAGE_EXTENSIONS)}. {error}'
            ) from error


def check_writable(path: str):
    """Find out before the work whether its result can be written; its folder is made.

    Args:
        path (str): The file, which is there already or not.

    Raises:
        OSError: If it cannot be written.
    """
    folder = os.path.dirname(os.path.abspath(path))
    check_writable_folder(folder)
    if os.path.exists(path):
        with open(path, 'ab'):
            pass


def check_writable_folder(folder: str):
    """The same for the folder of several results.

    Args:
        folder (str): The folder, which is made where it is not there.

    Raises:
        OSError: If nothing can be written there.
    """
    os.makedirs(folder, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def lock(file: IO, shared: bool = False) -> bool:
    """Lock an open file for this process, until it is closed or the process ends.

    On Windows nothing is locked.

    Args:
        file (IO): The file; open for writing, where the lock is not shared.
        shared (bool): Whether other processes may share the lock. Defaults to False.

    Returns:
        bool: False where another process has locked it.

    Raises:
        OSError: If the file system has no locks.
    """
    if fcntl is None:
        return True
    try:
        # Not flock: the workers of data loaders would inherit it, and outlive a kill.
        fcntl.lockf(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


@contextmanager
def replacing(path: str) -> Iterator[str]:
    """Write a file that is whole at any time, whatever ends the program.

    Args:
        path (str): The file, which is there already or not.

    Yields:
        str: Where to write it. It takes the file's place when it is on the disk.
    """
    temporary = f'{path}.tmp'
    try:
        yield temporary
        with open(temporary, 'rb+') as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):  # the disk may be full
            os.remove(temporary)
        raise
    if os.name == 'posix':  # there the new name is written with its folder
        folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
        with suppress(OSError):  # folders that are shared with a virtual machine
            os.fsync(folder)
        os.close(folder)
