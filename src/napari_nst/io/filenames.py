"""Names of output files that every operating system accepts.

Outputs are named after the pictures they came from (``{original}_{style}.csv``), and two AOSLO names of 89
characters joined already break Windows' limit of 260 characters for a path. Names are therefore cleaned and
shortened in one place.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from napari_nst.errors import ParameterError

__all__ = ["joined_stem", "safe_stem", "split_extension"]

#: Longest stem in UTF-8 bytes: file systems allow 255 for the whole name, the rest is for "_123.ome.tiff".
_BYTES = 240
_HASH = 10
_EMPTY = "image"

_FORBIDDEN = frozenset('<>:"/\\|?*')
# Invisible characters that reorder or hide what stands around them: "gpj.tif" could be shown as "fit.jpg".
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
# Cc control, Cs lone surrogate (cannot be encoded), Cn unassigned (refused by APFS), Zl and Zp line breaks.
_CATEGORIES = frozenset({"Cc", "Cs", "Cn", "Zl", "Zp"})

# https://learn.microsoft.com/windows/win32/fileio/naming-a-file: reserved alone and before any extension.
_RESERVED = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
    | {device + digit for device in ("COM", "LPT") for digit in "0123456789¹²³"}
)

_EDGE = re.compile(r"^[\s.]+|[\s.]+$")
# An extension begins with a letter, or ".5_4495_Confocal" of "1.5x1.5_4495_Confocal" would be taken for one.
_EXTENSION = re.compile(r"(?<=.)(\.ome)?\.[A-Za-z][A-Za-z0-9]{0,7}$", re.IGNORECASE)


def split_extension(name: str) -> tuple[str, str]:
    """Split a file name into stem and extension.

    Parameters
    ----------
    name : str
        A file name without folders.

    Returns
    -------
    stem, extension : str
        ``stem + extension == name``. The extension starts with its dot, has at most 8 letters or digits,
        begins with a letter, and keeps a leading ``.ome``; it is empty when the name has none, as in
        ``Subject1_1.5x1.5_4495_Confocal``.
    """
    found = _EXTENSION.search(name)
    return (name, "") if found is None else (name[: found.start()], found.group())


def safe_stem(name: str, limit: int = 120) -> str:
    r"""Turn any text into a file-name stem that Windows, macOS and Linux accept.

    Parameters
    ----------
    name : str
        Any text; an extension in it is kept as part of the stem.
    limit : int
        Longest result in characters, at least 16. The result also never has more than 240 UTF-8 bytes.

    Returns
    -------
    str
        `name` in Unicode form NFC, with separators, control characters and ``<>:"/\\|?*`` replaced by ``_``,
        without dots and spaces at its ends, "_" before a device name that Windows reserves, and "image" for
        nothing at all. A longer name is cut and ends in a hash of the whole, so that different long names
        stay different. Parentheses, commas and inner dots stay. Safe stems come back unchanged.

    Raises
    ------
    ParameterError
        `limit` is below 16.
    """
    return joined_stem(name, limit=limit)


def joined_stem(*parts: str, limit: int = 120) -> str:
    """Join names by ``_`` into one safe stem.

    Parameters
    ----------
    *parts : str
        For example the stems of original and style. Empty parts keep their ``_``.
    limit : int
        As in `safe_stem`.

    Returns
    -------
    str
        As `safe_stem`. When it is too long each part is cut to a fair share, so that every part can still be
        recognised, and the hash of the whole is appended.

    Raises
    ------
    ParameterError
        `limit` is below 16.
    """
    if limit < 16:
        raise ParameterError(f"limit={limit} leaves no room for a name and its hash; use 16 or more.")
    raw = unicodedata.normalize("NFC", "_".join(parts))
    stem = _clean(raw)
    if _fits(stem, limit):
        return stem
    digest = hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
    pieces = [stem]
    if 1 < len(parts) <= limit // 8:  # of more parts nothing legible would be left
        pieces = [_clean(unicodedata.normalize("NFC", part), "") for part in parts]
    budget = min(limit, _BYTES)
    while True:
        # Cleaned again, because a cut can uncover what the whole name did not show.
        short = _clean("_".join([*_shares(pieces, budget - _HASH - len(pieces)), digest]))
        if _fits(short, limit):
            return short
        budget -= 1


def _fits(stem: str, limit: int) -> bool:
    return len(stem) <= limit and len(stem.encode("utf-8", "surrogatepass")) <= _BYTES


def _clean(text: str, empty: str = _EMPTY) -> str:
    """Replace what some system refuses; `text` is in NFC, and stays so because nothing inside is removed."""
    kept = "".join("_" if c in _FORBIDDEN or c in _BIDI or unicodedata.category(c) in _CATEGORIES else c for c in text)
    kept = _EDGE.sub("", kept)
    if kept.split(".", 1)[0].rstrip().upper() in _RESERVED:
        kept = "_" + kept
    return kept or empty


def _shares(pieces: list[str], room: int) -> list[str]:
    """Cut the pieces to `room` characters in total; what short ones leave goes to the long ones."""
    lengths = dict.fromkeys(range(len(pieces)), 0)
    open_, left = sorted(lengths, key=lambda i: len(pieces[i])), max(room, 0)
    while open_:
        index = open_.pop(0)
        lengths[index] = min(len(pieces[index]), left // (len(open_) + 1))
        left -= lengths[index]
    return [piece[: lengths[index]] for index, piece in enumerate(pieces)]
