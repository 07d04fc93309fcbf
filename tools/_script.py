"""What every script begins with: a bare checkout's package, and a quiet end at Ctrl-C.

Scripts ``import _script`` before anything of ``apcnn_mm``.
"""

import os.path as osp
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


sys.excepthook = end_quietly

# Before anything else of the stack: it silences the stack's harmless messages.
import apcnn_mm  # noqa: E402, F401
