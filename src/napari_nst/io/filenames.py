"""Names of files: stems that every operating system accepts, and what the names of AOSLO images say.

Outputs are named after the images that they came from (``{original}_{style}.csv``), and two AOSLO names of 89
characters joined already break Windows' limit of 260 characters for a path.
"""

from __future__ import annotations

import hashlib
import operator
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple, SupportsIndex

from napari_nst.errors import ParameterError

__all__ = ["KNOWN_TEMPLATES", "AosloName", "NameTemplate", "safe_stem", "split_extension"]

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
    """Split a file name without folders into stem and extension; joined they are the name.

    The extension starts with its dot, has at most 8 letters or digits, begins with a letter, and keeps a leading
    ``.ome``; it is empty when the name has none, as in ``Subject1_1.5x1.5_4495_Confocal``.
    """
    found = _EXTENSION.search(name)
    return (name, "") if found is None else (name[: found.start()], found.group())


def safe_stem(*parts: str, limit: int = 120) -> str:
    r"""Join names by ``_`` into one stem that Windows, macOS and Linux accept; a safe stem comes back unchanged.

    Empty parts keep their ``_``. It is in Unicode form NFC, with separators, control characters and ``<>:"/\\|?*`` replaced by ``_``, without dots and
    spaces at its ends, "_" before a device name that Windows reserves, and "image" for nothing at all. A name of more than
    `limit` characters (at least 16) or 240 UTF-8 bytes is cut and ends in a hash of the whole, so that different long
    names stay different; each part is cut to a fair share. Parentheses, commas and inner dots stay, and so does an extension.
    """
    if limit < 16:
        raise ParameterError(f"limit must be 16 or more, to leave room for a name and its hash, got limit={limit}.")
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


# Digits are counted and ASCII: int() refuses thousands of them and takes those of every script.
_NUMBER = r"[+-]?(?:[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})"
_DIGITS = re.compile(r"[0-9]{1,15}")
_ANYTHING = r".+?"

#: Only these are extensions, so ".5_4495_Confocal" of "1.5x1.5_4495_Confocal" is none. Tables are filed under
#: the name of their image (".tif.csv", "_coords.csv").
_IMAGE_EXTENSION = re.compile(r"(?<=.)\.((?:ome\.)?tiff?|png|jpe?g|csv|txt)\Z", re.IGNORECASE | re.ASCII | re.DOTALL)
_CROP_PREFIX = r"CROP_[0-9]{1,15}_x[0-9]{1,15}y[0-9]{1,15}_"
#: Further prefixes (a patch of a patch) belong to the first; something must be left as the image's own name.
_PREFIX = re.compile(rf"CROP_([0-9]{{1,15}})_x([0-9]{{1,15}})y([0-9]{{1,15}})_(?:{_CROP_PREFIX})*(?=.)", re.DOTALL)

_MODALITIES = {
    "confocal": "CO",
    "calculatedsplit": "CS",
    "split_det": "CS",
    "oa850nm": "OA",
    "darkfield": "DF",
}


def _identifier(text: str) -> int | str:
    return int(text) if _DIGITS.fullmatch(text) else text


class _Kind(NamedTuple):
    """What a known field of a template may hold and where it goes; no attribute: to `AosloName.extra`."""

    attribute: str | None
    pattern: str = _ANYTHING
    convert: Callable[[str], Any] = str


_REST = _Kind("postfix", ".*")
_KINDS = {
    "idnum": _Kind("subject_id", convert=_identifier),
    "session": _Kind("session_id", "[^_]+?", _identifier),
    "vidnum": _Kind("image_id", "[^_]+?", _identifier),
    "eye": _Kind("eye", "[Oo][DdSs]", str.upper),
    "locx": _Kind("x_position", _NUMBER, float),
    "locy": _Kind("y_position", _NUMBER, float),
    "fov_width": _Kind("x_size", _NUMBER, float),
    "fov_height": _Kind("y_size", _NUMBER, float),
    "modality": _Kind("modality"),
    "rest": _REST,
} | {name: _Kind(None, "[0-9]+") for name in ("date", "year", "month", "day")}

_OTHER = _Kind(None)


@dataclass(frozen=True)
class NameTemplate:
    """The form of the file names of one laboratory.

    Parameters
    ----------
    template : str
        Text with fields in braces, such as
        ``{IDnum}_{Year:4}{Month:2}{Day:2}_{Eye}_({LocX},{LocY})_{FOV_Width}x{FOV_Height}_{VidNum}_{Modality}{rest}``.
        The text between the fields must stand in the name as it is. ``{Year:4}`` takes exactly four
        characters; a field without a width takes the fewest with which the whole name fits. ``{rest}``, only
        at the end, takes what is left, also nothing; a field directly before it takes letters and digits, as
        many as there are. ``{:1}`` skips one character, and ``:.4`` means ``:4``, as in the configuration of F(Cell). The
        template describes a name without its CROP_ prefix and extension; the extension of an image at its
        end is not looked at.

    Raises
    ------
    ParameterError
        The template cannot be understood; the message says where.

    Notes
    -----
    Known fields, in any case: IDnum (subject), Session, Eye (OS or OD), LocX and LocY (degrees), FOV_Width and
    FOV_Height (degrees), VidNum (image), Modality, rest (postfix). Date, Year, Month and Day hold digits. These
    and fields of other names are found in `AosloName.extra`.
    """

    template: str
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _fields: tuple[tuple[str, _Kind], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        pattern, fields = _compile(self.template)
        object.__setattr__(self, "_pattern", pattern)
        object.__setattr__(self, "_fields", fields)

    def match(self, stem: str) -> dict[str, Any] | None:
        """Read a name without CROP_ prefix and extension.

        Returns
        -------
        dict or None
            Values for the fields of `AosloName`, among them ``extra``; None if the name has another form, for
            example text where a number belongs.
        """
        # No file system has longer names, and the search for the fields must end.
        found = self._pattern.fullmatch(stem) if len(stem) <= 1000 else None
        if found is None:
            return None
        values: dict[str, Any] = {}
        extra: list[tuple[str, str]] = []
        for (name, kind), text in zip(self._fields, found.groups(), strict=True):
            # A width says only how many characters; whether they are a number is seen here.
            if not re.fullmatch(kind.pattern, text, re.DOTALL):
                return None
            if kind.attribute is None:
                extra.append((name, text))
            else:
                values[kind.attribute] = kind.convert(text)
        return {**values, "extra": tuple(extra)}


def _compile(template: str) -> tuple[re.Pattern[str], tuple[tuple[str, _Kind], ...]]:
    parts: list[str] = []
    fields: dict[str, tuple[str, _Kind]] = {}
    pieces = list(re.finditer(r"\{([^{}]*)\}|[^{}]+|[{}]", _IMAGE_EXTENSION.sub("", template)))
    unbounded = False  # the field before has no width, and no text came since
    for piece, following in zip_longest(pieces, pieces[1:]):
        inner = piece.group(1)
        wrong = partial(_wrong, template, piece.start())
        if inner is None:
            if piece.group() in "{}":
                raise wrong(f"a brace {piece.group()!r} without its partner")
            parts.append(re.escape(piece.group()))
            unbounded = False
            continue
        name, width = _name_and_width(inner, wrong)
        kind = _KINDS.get(name.lower(), _OTHER)
        if name and name.lower() in fields:
            raise wrong(f"the field {{{name}}} a second time; give each field its own name")
        if kind is _REST and (width or following):
            raise wrong("{rest} with a width or with something behind it; it ends a template")
        if unbounded and not width and kind is not _REST:
            raise wrong(f"{{{inner}}} directly behind another field; put text between them or give one a width")
        unbounded = not width
        text = f".{{{width}}}" if width else _pattern(kind, following)
        parts.append(f"({text})" if name else text)
        if name:
            fields[name.lower()] = (name, kind)
    if not fields:
        raise ParameterError(
            f"The name template {template!r} has no field; write for example '{{IDnum}}_{{Eye}}_{{rest}}'."
        )
    # A later place for the text behind a field never helps when the next field takes anything: without going
    # back, a long name of another form is given up at once.
    for index in range(len(parts) - 2):
        if parts[index].endswith("?)") and parts[index + 2] == f"({_ANYTHING})":
            parts[index] = f"(?>{parts[index]}"
            parts[index + 1] += ")"
    return re.compile("".join(parts), re.DOTALL), tuple(fields.values())


def _wrong(template: str, at: int, what: str) -> ParameterError:
    return ParameterError(f"The name template {template!r} has, at character {at + 1}, {what}.")


def _name_and_width(inner: str, wrong: Callable[[str], ParameterError]) -> tuple[str, int]:
    """Read what stands between braces; 0 for no width."""
    name, colon, size = (part.strip() for part in inner.partition(":"))
    if colon and not re.fullmatch(r"\.?0*[1-9][0-9]{0,2}", size):
        raise wrong(f"the width {size!r} of {{{inner}}}; a width is a number from 1 to 999")
    if not name and not colon:
        raise wrong("a field without a name; write for example {VidNum}")
    return name, int(size.lstrip(".")) if colon else 0


def _pattern(kind: _Kind, following: re.Match[str] | None) -> str:
    """What a field without a width takes: directly before {rest} letters and digits only."""
    before_rest = following is not None and (following.group(1) or "").lower() == "rest"
    return "[A-Za-z0-9]+" if before_rest and kind.pattern.endswith("?") else kind.pattern


_DOCUMENTED = "Subject{IDnum}_Session{Session}_{Eye}_({LocX},{LocY})_{FOV_Width}x{FOV_Height}_{VidNum}_{Modality}{rest}"

#: The forms that are tried when no template is given, in this order.
KNOWN_TEMPLATES = tuple(
    NameTemplate(template)
    for template in (
        # The document's own.
        _DOCUMENTED,
        # The configuration of F(Cell): a date in place of the session.
        "{IDnum}_{Date:8}_{Eye}_({LocX},{LocY})_{FOV_Width}x{FOV_Height}_{VidNum}_{Modality}{rest}",
        # The demonstration images of AOAutomontaging, and their kind with the wavelength.
        "CS_{IDnum}_{Date:8}_{Modality}_{Eye}_{VidNum}_ref_{Reference}{rest}",
        "SF_{IDnum}_{Wavelength}_{Eye}_{Modality}_{VidNum}_ref_{Reference}{rest}",
        # Canon's prototype: AOAutomontaging (parseCanonFName.m) says that the third field is the subject. The scan
        # position counts 0.05 degrees from a zero that each site sets, so it is no position on the retina.
        "{Device:3}-{Date:14}-{IDnum}-{Visit:2}-{Sex:1}-{Eye}--{ScanX:3}{ScanY:3}-{ScanType}-{VidNum}{rest}",
    )
)


@dataclass(frozen=True)
class AosloName:
    """The name of an AOSLO image or patch, with its fields; made by `AosloName.parse`.

    Attributes
    ----------
    text : str
        The name exactly as it was given, without folders; ``str(name)`` is the same.
    extension : str
        Without its dot, in lower case: tif, tiff, ome.tif, png, jpg, jpeg, csv or txt; "" for none.
    recognised : bool
        Whether the name has a known form. If not, only `text`, `extension`, `stem` and the crop say anything.
    crop_id, crop_x, crop_y : int or None
        Number of the patch, and column and row of its first pixel in the full image, 0-based, in pixels.
    subject_id, session_id, image_id : int, str or None
        A number where the name has digits only.
    eye : str or None
        "OS" (left) or "OD" (right).
    x_position, y_position : float or None
        Place on the retina in degrees of visual angle; what the signs mean is up to the laboratory.
    x_size, y_size : float or None
        Field of view, in degrees.
    modality : str or None
        As written, for example Confocal1, OA850nm, split_det.
    postfix : str
        What follows, for example ``_extract_reg_avg``.
    extra : tuple of (str, str)
        Other fields of the template and their text, such as ("Date", "20150302").

    Notes
    -----
    The documented form is ``[CROP_{crop_id}_x{x}y{y}_]Subject{int}_Session{int}_{eye}_({x},{y})_{width}x{height}_
    {image}_{modality}{postfix}.{extension}``; `KNOWN_TEMPLATES` has the others.
    """

    text: str
    extension: str = ""
    recognised: bool = False
    crop_id: int | None = None
    crop_x: int | None = None
    crop_y: int | None = None
    subject_id: int | str | None = None
    session_id: int | str | None = None
    eye: str | None = None
    x_position: float | None = None
    y_position: float | None = None
    x_size: float | None = None
    y_size: float | None = None
    image_id: int | str | None = None
    modality: str | None = None
    postfix: str = ""
    extra: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str, template: NameTemplate | str | None = None, strict: bool = False) -> AosloName:
        """Read a file name.

        Parameters
        ----------
        text : str
            The name without folders, with or without its extension.
        template : NameTemplate or str, optional
            The form of the names of a laboratory; by default those of `KNOWN_TEMPLATES`.
        strict : bool
            Refuse names of another form instead of taking them for plain stems.

        Returns
        -------
        AosloName
            Always with ``str(name) == text``.

        Raises
        ------
        ParameterError
            `template` cannot be understood, or `strict` and the name has another form.
        """
        if isinstance(template, str):
            template = NameTemplate(template)
        crop = _PREFIX.match(text)
        own = text[crop.end() :] if crop else text
        found = _IMAGE_EXTENSION.search(own)
        stem = own[: found.start()] if found else own
        matches = (known.match(stem) for known in ([template] if template else KNOWN_TEMPLATES))
        values = next((match for match in matches if match is not None), None)
        if values is None and strict:
            expected = template.template if template else _DOCUMENTED
            raise ParameterError(
                f"The name {text!r} does not have the form '{expected}', with or without "
                "'CROP_{number}_x{column}y{row}_' before it and an extension behind it. Rename the file, pass the template of "
                "your laboratory's names, or do without strict to use it as a plain name."
            )
        numbers = [int(number) for number in crop.groups()] if crop else [None] * 3
        return cls(
            text,
            extension=found.group(1).lower() if found else "",
            recognised=values is not None,
            crop_id=numbers[0],
            crop_x=numbers[1],
            crop_y=numbers[2],
            **(values or {}),
        )

    def __str__(self) -> str:
        return self.text

    @property
    def stem(self) -> str:
        """The name without its extension."""
        return self.text[: -len(self.extension) - 1] if self.extension else self.text

    @property
    def full_image(self) -> AosloName:
        """The name of the image that a patch was cut from: without ``CROP_...``, and itself when there is none."""
        crop = _PREFIX.match(self.text)
        if crop is None:
            return self
        return replace(self, text=self.text[crop.end() :], crop_id=None, crop_x=None, crop_y=None)

    def with_crop(self, crop_id: SupportsIndex, x: SupportsIndex, y: SupportsIndex) -> AosloName:
        """Name a patch of this image; a prefix that is there already is replaced.

        Parameters
        ----------
        crop_id : int
            Number of the patch, unique in its session, not negative.
        x, y : int
            Column and row of the patch's first pixel in the full image, 0-based, not negative.

        Returns
        -------
        AosloName
            Named ``CROP_{crop_id}_x{x}y{y}_{full image}``.

        Raises
        ------
        ParameterError
            Not an integer, or negative.
        """
        numbers = []
        for name, value in (("crop_id", crop_id), ("x", x), ("y", y)):
            try:
                number = operator.index(value)
            except TypeError:
                number = -1
            if not 0 <= number < 10**15:
                raise ParameterError(f"{name}={value!r} of a patch must be an integer of 0 or more.")
            numbers.append(number)
        one, column, row = numbers
        full = self.full_image
        text = f"CROP_{one}_x{column}y{row}_{full.text}"
        return replace(full, text=text, crop_id=one, crop_x=column, crop_y=row)

    @property
    def position(self) -> tuple[float, float] | None:
        """Place on the retina, (x, y) in degrees; None where the name does not tell it."""
        if self.x_position is None or self.y_position is None:
            return None
        return (self.x_position, self.y_position)

    @property
    def squared_eccentricity(self) -> float | None:
        """Squared distance from the fovea, in degrees²; None where the name does not tell the place."""
        return None if self.position is None else self.position[0] ** 2 + self.position[1] ** 2

    @property
    def retina(self) -> tuple[int | str | None, str | None]:
        """Whose retina: (subject, eye)."""
        return (self.subject_id, self.eye)

    @property
    def modality_code(self) -> str | None:
        """The document's short name: CO confocal, CS split detection, OA 850 nm, DF dark field; None for others.

        The digit that the acquisition software appends (``Confocal1``) does not matter.
        """
        return _MODALITIES.get((self.modality or "").lower().rstrip("0123456789"))
