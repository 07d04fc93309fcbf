"""What scripts share: a bare checkout's package, a quiet end at Ctrl-C, what comes next.

Scripts ``import _script`` before anything of ``apcnn_mm``.
"""

import os
import os.path as osp
import shlex
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))  # bare checkout


def end_quietly(kind, error, trace):
    """End at Ctrl-C, also while a script is still importing, without a traceback.

    Args:
        kind (type): The class of an error that nobody has caught.
        error (BaseException): The error. Its text, where there is one, goes to the user.
        trace (TracebackType): Where it came from.

    Raises:
        SystemExit: With the status 130, as shells have it, at Ctrl-C.
    """
    if not issubclass(kind, KeyboardInterrupt):
        return sys.__excepthook__(kind, error, trace)
    print(f'\nStopped by Ctrl-C. {error}'.rstrip(), file=sys.stderr)
    raise SystemExit(130)


def print_next(*commands):
    """Print the commands that come next, to be copied into a shell.

    Args:
        *commands (list[str | Path]): Each with the name of a script and its arguments.
    """
    folder = short_path(osp.dirname(osp.abspath(__file__)))
    print('\nNext:')
    for script, *arguments in commands:
        command = ['python', osp.join(folder, f'{script}.py'), *map(str, arguments)]
        print(f'    {shlex.join(command)}')


def short_path(path):
    """The path from here, or from the root where it lies elsewhere."""
    path, here = osp.abspath(path), osp.join(os.getcwd(), '')
    return path[len(here) :] if path.startswith(here) else path


sys.excepthook = end_quietly

# Before anything else of the stack: it silences the stack's harmless messages.
import apcnn_mm  # noqa: E402, F401
