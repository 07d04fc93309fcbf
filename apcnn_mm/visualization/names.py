"""Names in pictures as they are written: no mathematics, and in any script."""

import functools
from textwrap import fill
from typing import FrozenSet, Iterable, List
from unicodedata import east_asian_width

from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager
from matplotlib.ft2font import FT2Font
from mmengine.logging import MMLogger


def as_text(name) -> str:
    """A name that can be drawn: those of files may have bytes that are no text."""
    return str(name).encode(errors='replace').decode()


def text_style(names: Iterable[str], family: str = 'sans-serif') -> dict:
    """How matplotlib draws names as they are written.

    A pair of ``$`` in a text would make it a formula, and end in an error where it is
    none. Characters that the font lacks come from other installed fonts; where none has
    them, there is one warning.

    Args:
        names (Iterable[str]): The names.
        family (str): The font for what it has. Defaults to 'sans-serif'.

    Returns:
        dict: Properties of :class:`matplotlib.text.Text`.
    """
    characters = frozenset(c for c in ''.join(map(as_text, names)) if c.isprintable())
    return dict(parse_math=False, family=[family, *_other_families(characters, family)])


def as_lines(text: str, letters: int) -> str:
    """A text in lines of so many Latin letters; Chinese ones are half as wide again."""
    wide = sum(east_asian_width(c) in 'WF' for c in text)
    return fill(text, int(letters * len(text) / (len(text) + wide / 2))) if text else ''


@functools.cache
def _other_families(characters: FrozenSet[str], family: str) -> List[str]:
    """Families with the characters that the first one lacks, the richest first."""
    own = findfont(FontProperties(family=[family]))
    missing = characters - _covered(own, characters)
    families = []
    if not missing:
        return families
    # matplotlib's own list is made once, and knows no font that came later.
    paths = sorted({font.fname for font in fontManager.ttflist} | set(findSystemFonts()))
    covered = {path: _covered(path, missing) for path in paths}
    while missing:
        path = max(paths, key=lambda path: len(covered[path] & missing))
        if not covered[path] & missing:
            _warn_of(missing)
            break
        missing -= covered[path]
        if all(path != font.fname for font in fontManager.ttflist):
            fontManager.addfont(path)
        families.append(FT2Font(path).family_name)
    return families


@functools.cache
def _warn_of(characters):  # once
    MMLogger.get_current_instance().warning(
        f'No installed font has the characters {"".join(sorted(characters))}: names in '
        'pictures show boxes in their place. Install one that has them, such as Noto Sans '
        'CJK for Chinese, Japanese and Korean.'
    )


def _covered(path, characters):
    """The characters that a font file has."""
    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):  # damaged
        return set()
    # matplotlib's Last Resort has a box for every character, and cannot draw bitmaps.
    if font.family_name.startswith('Last Resort') or not font.scalable:
        return set()
    return {c for c in characters if font.get_char_index(ord(c))}
