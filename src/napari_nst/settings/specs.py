"""What an interface must know of a setting: its limits, unit, help, and how text becomes its value.

Every dataclass of settings is described by its own fields; functions, command line and widgets read them from there.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from napari_nst.errors import ParameterError

__all__ = ["Described", "ParameterSpec", "ValueRangeSpec", "check_value", "parse_value_range", "setting", "specs_of"]

#: "auto", "percentiles", or (low, high).
ValueRangeSpec = str | tuple[float, float]


@dataclass(frozen=True)
class ParameterSpec:
    """What an interface must know of one field.

    Attributes
    ----------
    name, label, help, unit : str
        The field's name, its short label, one or two sentences, and the unit ("" if none).
    kind : {"bool", "int", "float", "auto_float", "choice", "text", "names", "numbers", "range"}
        How the value is entered; "auto_float" is a number or the word auto.
    default : object
        The default, of the preset "documented".
    choices : tuple of str
        For "choice" only.
    minimum, maximum : float or None
        Inclusive limits of a number.
    advanced : bool
        Whether an interface should keep it out of the first sight.
    """

    name: str
    label: str
    help: str
    unit: str
    kind: str
    default: Any
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    advanced: bool = True

    def to_text(self, value: Any) -> str:
        """The value as a person types it."""
        if self.kind == "names":
            return ", ".join(value)
        if self.kind == "numbers" or (self.kind == "range" and not isinstance(value, str)):
            return ", ".join(f"{number:g}" if float(f"{number:g}") == number else repr(number) for number in value)
        return str(value)

    def from_text(self, text: str) -> Any:
        """The value that a person typed; raises ParameterError if it is none."""
        text = text.strip()
        if self.kind == "names":
            return tuple(part for part in re.split(r"[,\s]+", text) if part)
        if self.kind == "numbers":
            return tuple(_number(part, self.name) for part in re.split(r"[,\s]+", text) if part)
        if self.kind == "range":
            return parse_value_range(text, self.name)
        if self.kind == "auto_float":
            return "auto" if text.lower() in ("auto", "") else _number(text, self.name)
        if self.kind == "bool":
            if text.lower() not in ("true", "false", "yes", "no", "on", "off", "1", "0"):
                raise ParameterError(f"{self.name}: {text!r} is neither true nor false.")
            return text.lower() in ("true", "yes", "on", "1")
        if self.kind == "int":
            number = _number(text, self.name)
            if not number.is_integer():
                raise ParameterError(f"{self.name}: {text} is not a whole number.")
            return int(number)
        return _number(text, self.name) if self.kind == "float" else text


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ParameterError(f"{name}: {text!r} is not a number.") from None


def parse_value_range(value: Any, name: str = "value_range") -> ValueRangeSpec:
    """Check a value range: "auto", "percentiles", "LOW, HIGH", or a pair of numbers."""
    if isinstance(value, str):
        text = value.strip().lower()
        if text in ("auto", "percentiles"):
            return text
        parts = [part for part in re.split(r"[,\s]+", text) if part]
        if len(parts) != 2:
            raise ParameterError(
                f"{name}: {value!r} is not a range; give auto, percentiles, or two numbers such as 0, 4095."
            )
        value = tuple(_number(part, name) for part in parts)
    try:
        pair = tuple(float(number) for number in value)
    except (TypeError, ValueError):
        raise ParameterError(
            f"{name}: {value!r} is not a range; give auto, percentiles, or two numbers such as 0, 4095."
        ) from None
    if len(pair) != 2 or not all(map(math.isfinite, pair)) or pair[0] >= pair[1]:
        raise ParameterError(f"{name}: {value!r} is not a range; give two finite numbers, the lower first.")
    return (pair[0], pair[1])


def setting(
    default: Any,
    label: str,
    text: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    advanced: bool = True,
    kind: str | None = None,
) -> Any:
    """A field of a dataclass of settings, with what an interface must know of it."""
    return field(
        default=default,
        metadata={
            "label": label,
            "help": text,
            "unit": unit,
            "minimum": minimum,
            "maximum": maximum,
            "advanced": advanced,
            "kind": kind,
        },
    )


class Described:
    """Base of a dataclass of settings: what its fields are, for whoever offers them."""

    @classmethod
    def specs(cls) -> tuple[ParameterSpec, ...]:
        """The description of every field, in order."""
        return specs_of(cls)

    @classmethod
    def spec(cls, name: str) -> ParameterSpec:
        """The description of one field."""
        return next(spec for spec in cls.specs() if spec.name == name)

    def asdict(self) -> dict[str, Any]:
        """All fields as plain values, of which an equal object can be made: ``Settings(**s.asdict()) == s``."""
        return {spec.name: getattr(self, spec.name) for spec in self.specs()}


def specs_of(cls: type) -> tuple[ParameterSpec, ...]:
    """The description of every field of a dataclass of settings, in order."""
    return _described(cls)


@functools.cache
def _described(cls: type) -> tuple[ParameterSpec, ...]:
    hints = get_type_hints(cls)
    specs = []
    for entry in dataclasses.fields(cls):
        meta, hint = dict(entry.metadata), hints[entry.name]
        kind = meta.pop("kind") or _kind_of(hint)
        choices = tuple(get_args(hint)) if kind == "choice" else ()
        specs.append(ParameterSpec(name=entry.name, kind=kind, default=entry.default, choices=choices, **meta))
    return tuple(specs)


def _kind_of(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "choice"
    if get_origin(hint) is tuple:
        return "names" if get_args(hint)[0] is str else "numbers"
    if isinstance(hint, types.UnionType) or get_origin(hint) is typing.Union:
        raise TypeError(f"a union needs its kind stated: {hint}")
    return {bool: "bool", int: "int", float: "float", str: "text"}[hint]


def check_value(spec: ParameterSpec, value: Any) -> Any:
    """Bring a value to the plain Python type of its field, or raise ParameterError."""

    def wrong(what: str) -> ParameterError:
        return ParameterError(f"{spec.name}: {value!r} is not {what}.")

    def limited(number: float) -> float:
        low, high = spec.minimum, spec.maximum
        if (low is not None and number < low) or (high is not None and number > high) or not math.isfinite(number):
            limits = f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"
            unit = f" {spec.unit}" if spec.unit else ""
            raise ParameterError(f"{spec.name}: {value!r} is outside its limits; give a number {limits}{unit}.")
        return number

    if spec.kind == "bool":
        if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):
            raise wrong("True or False")
        return bool(value)
    if spec.kind == "int":
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not float(value).is_integer():
            raise wrong("a whole number")
        return int(limited(float(value)))
    if spec.kind == "auto_float" and isinstance(value, str):
        value = spec.from_text(value)
        if value == "auto":
            return value
    if spec.kind in ("float", "auto_float"):
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise wrong("a number")
        return limited(float(value))
    if spec.kind == "choice":
        if not isinstance(value, str) or value not in spec.choices:
            raise ParameterError(f"{spec.name}: {value!r} is not a choice; choose one of {', '.join(spec.choices)}.")
        return str(value)
    if spec.kind in ("names", "numbers"):
        if isinstance(value, str):
            value = spec.from_text(value)
        if not isinstance(value, Sequence):
            raise wrong("a sequence")
        kind, what = (str, "a sequence of names") if spec.kind == "names" else (numbers.Real, "a sequence of numbers")
        if not all(isinstance(entry, kind) for entry in value):
            raise wrong(what)
        return tuple(value) if spec.kind == "names" else tuple(limited(float(number)) for number in value)
    if spec.kind == "range":
        return parse_value_range(value, spec.name)
    if not isinstance(value, str):
        raise wrong("text")
    return value
