"""Base of the models of settings, and what an interface must know of each of their fields."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import math
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from napari_nst.errors import ParameterError

#: "auto", "percentiles", or (low, high).
ValueRangeSpec = str | tuple[float, float]


@dataclass(frozen=True)
class ParameterSpec:
    """What an interface must know of one field.

    `kind` is bool, int, float, auto_float (a number or the word auto), choice, text, names, numbers or range. The default is that of
    the preset "documented", the limits of numbers are inclusive, what is `advanced` should be kept out of the first sight, and
    `aliases` are former names, still accepted.
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
    aliases: tuple[str, ...] = ()
    _type: Any = field(default=str, repr=False, compare=False)

    def to_text(self, value: Any) -> str:
        """Return the value as a person types it."""
        if self.kind == "names":
            return ", ".join(value)
        if self.kind == "numbers" or (self.kind == "range" and not isinstance(value, str)):
            return ", ".join(f"{number:g}" if float(f"{number:g}") == number else repr(number) for number in value)
        return str(value)

    def from_text(self, text: str) -> Any:
        """Return the value that a person typed; raise ParameterError if it cannot be used."""
        value: Any = text.strip()
        if self.kind == "text":
            return value
        if self.kind in ("names", "numbers"):
            value = tuple(part for part in re.split(r"[,\s]+", value) if part)
        elif self.kind == "auto_float":
            value = value.lower() or "auto"
        elif self.kind == "int" and re.fullmatch(r"[\d.]+e\d+", value):
            value = float(value)
        try:
            return self._adapter.validate_python(value)
        except ValidationError:
            raise ParameterError(self.message(text)) from None

    def message(self, value: Any) -> str:
        """Say what was wrong with a value, and what would do."""
        if self.kind == "text":
            return f"`{self.name}` cannot be {value!r}. {self.help}"
        low, high = self.minimum, self.maximum
        limits = "" if low is None else f" of at least {low:g}" if high is None else f" from {low:g} to {high:g}"
        limits += f" {self.unit}" if limits and self.unit else ""
        expected = {
            "bool": "True or False",
            "int": f"a whole number{limits}",
            "float": f"a number{limits}",
            "auto_float": f"auto or a number{limits}",
            "choice": f"one of {', '.join(self.choices)}",
            "names": "a sequence of names",
            "numbers": f"a sequence of numbers{limits}",
        }[self.kind]
        return f"`{self.name}` must be {expected}, got {value!r}. Try {self.default!r}."

    @functools.cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self._type, config=ConfigDict(allow_inf_nan=False))


def setting(default: Any, label: str, unit: str = "", advanced: bool = True, was: str = "", **limits: Any) -> Any:
    """Return a field of a model of settings, with its former name and pydantic's limits; its help is the text below it."""
    more: dict[str, Any] = {"unit": unit, "advanced": advanced, "aliases": (was,) if was else ()}
    return Field(default, title=label, json_schema_extra=more, **limits)


class Settings(BaseModel):
    """Base of the models of settings: frozen, strict, with errors that say what to do."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    _noun: ClassVar[str] = "setting"

    @classmethod
    @functools.cache
    def _specs(cls) -> dict[str, ParameterSpec]:
        texts = _texts_below_fields(cls)
        return {name: _spec_of(name, info, texts[name]) for name, info in cls.model_fields.items()}

    @classmethod
    def specs(cls) -> tuple[ParameterSpec, ...]:
        """Return the description of every field, in order."""
        return tuple(cls._specs().values())

    @classmethod
    def spec(cls, name: str) -> ParameterSpec:
        """Return the description of one field."""
        return cls._specs()[name]

    @classmethod
    def names(cls) -> set[str]:
        """Return the names of all fields, former ones included."""
        return {name for spec in cls.specs() for name in (spec.name, *spec.aliases)}

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> Self:
        """Return the settings that a record holds; former names are read without a warning."""
        former = {alias: spec.name for spec in cls.specs() for alias in spec.aliases}
        return cls(**{former.get(name, name): value for name, value in values.items()})

    def asdict(self) -> dict[str, Any]:
        """Return all fields as plain values, of which an equal object can be made: ``Settings(**s.asdict()) == s``."""
        return {name: getattr(self, name) for name in self._specs()}

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, checked like any other."""
        return type(self)(**{**self.asdict(), **changes})

    @classmethod
    def _complete(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Return all that the model is made of, for what the caller passed."""
        for spec in cls.specs():
            for alias in spec.aliases:
                if alias in given and spec.name not in given:
                    text = f"`{alias}` was renamed. Use `{spec.name}`; the former name goes with the next release."
                    warnings.warn(text, DeprecationWarning, stacklevel=5)  # where the model is made
                    given[spec.name] = given.pop(alias)
        return given

    @model_validator(mode="wrap")
    @classmethod
    def _check(cls, given: Any, handler: Callable[[Any], Self]) -> Self:
        values = cls._complete(dict(given)) if isinstance(given, Mapping) else given
        try:
            return handler(values)
        except ValidationError as error:
            names = dict.fromkeys(str(part["loc"][0]) for part in error.errors() if part["loc"])
            raise ParameterError(" ".join(cls._message(name, values[name]) for name in names) or str(error)) from None

    @classmethod
    def _message(cls, name: str, value: Any) -> str:
        if name in cls._specs():
            return cls.spec(name).message(value)
        return f"`{name}` is not a {cls._noun}. The {cls._noun}s are {', '.join(cls._specs())}."

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: Any) -> Any:
        """Take NumPy scalars, whole floats, lists and typed numbers for what they stand for."""
        spec = cls.spec(info.field_name)
        value = _python(value)
        if spec.kind == "int" and isinstance(value, float) and value.is_integer():
            return int(value)
        if spec.kind in ("names", "numbers", "auto_float") and isinstance(value, str):
            return spec.from_text(value)
        if spec.kind in ("names", "numbers") and isinstance(value, Sequence):
            return tuple(map(_python, value))
        return value


def _python(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _texts_below_fields(cls: type) -> dict[str, str]:
    """Return the text below each field of a class; pydantic's own way looks through every module that is loaded."""
    module = ast.parse(inspect.getsource(sys.modules[cls.__module__]))
    body = next(node.body for node in module.body if isinstance(node, ast.ClassDef) and node.name == cls.__name__)
    return {
        ast.unparse(above.target): ast.literal_eval(below.value)
        for above, below in itertools.pairwise(body)
        if isinstance(above, ast.AnnAssign) and isinstance(below, ast.Expr)
    }


def _spec_of(name: str, info: FieldInfo, text: str) -> ParameterSpec:
    more: Any = info.json_schema_extra
    kind = _kind_of(info.annotation)
    parts = get_args(info.annotation)
    # Of "one or more numbers" and "a number or auto" the limits are those of the number.
    inner = [limit for part in parts for entry in getattr(part, "__metadata__", ()) for limit in entry.metadata]
    limits = [*info.metadata, *inner]
    return ParameterSpec(
        name,
        info.title or name,
        " ".join(text.split()),
        kind=kind,
        default=info.default,
        choices=parts if kind == "choice" else (),
        minimum=next((limit.ge for limit in limits if hasattr(limit, "ge")), None),
        maximum=next((limit.le for limit in limits if hasattr(limit, "le")), None),
        _type=Annotated[info.annotation, info],
        **more,
    )


def _kind_of(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "choice"
    if origin is tuple:
        return "names" if parts[0] is str else "numbers"
    if parts:
        return "range" if str in parts else "auto_float"
    return {bool: "bool", int: "int", float: "float", str: "text"}[annotation]


def call_by(text: str, names: Mapping[str, str]) -> str:
    """Return a message in which fields are called by other names than Python's, such as labels or options."""
    return re.sub(r"`(\w+)`", lambda found: names.get(found[1], found[0]), text)


def parse_value_range(value: Any, name: str = "value_range") -> ValueRangeSpec:
    """Return a value range: "auto", "percentiles", or a pair of numbers, also as the text "LOW, HIGH"; else ParameterError."""
    parts = value
    if isinstance(value, str):
        parts = re.split(r"[,\s]+", value.strip().lower())
        if parts in (["auto"], ["percentiles"]):
            return str(parts[0])
    try:
        low, high = (float(part) for part in parts)
    except (TypeError, ValueError):
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise ParameterError(
            f"`{name}` must be auto, percentiles, or two finite numbers (the lower first), got {value!r}. Try 'auto', or (0, 4095) "
            "for 12 bits."
        )
    return low, high
