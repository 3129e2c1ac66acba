"""A run as Python: the script that makes a result again, to paste into any interpreter with napari-nst."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from napari_nst.imaging.mosaic import mosaic_pair
from napari_nst.imaging.values import digest_of
from napari_nst.io.images import EXTENSION
from napari_nst.settings.parameters import StyleTransferParameters
from napari_nst.transfer.record import KEY, arguments_from
from napari_nst.viewer.sample import SAMPLES

ROLES = ("target", "style")

_CHECK = '''
def check(role, image, sha256):
    """Make sure that this is the image of the recorded run."""
    if digest_of(image.shape, image.dtype, [image]) != sha256:
        raise ValueError(
            f"This {role} is another one than that of the recorded run: its shape, type or values differ "
            f"({image.shape}, {image.dtype}). Look for the original image, or take this check out."
        )
'''


def python_script(metadata: Mapping[str, Any]) -> str:
    """Write the script that repeats a run, from its record; ParameterError where `metadata` is none.

    The script reads (or makes) target and style, checks that they are the recorded ones, runs ``transfer_style`` with the
    recorded device, precision and number of threads, and saves the result. Images that have neither a file nor a recipe
    are taken from the layers of a viewer, for napari's console.
    """
    arguments, comments = _arguments(metadata)
    names = [_name(role, metadata) for role in ROLES]
    # Once what both images come from, such as the pair of a sample.
    body = list(dict.fromkeys(line for role in ROLES for line in _input(role, metadata)))
    for role in ROLES:
        if "sha256" in metadata.get(role, {}):
            body.append(f'check("{role}", {role}, "{metadata[role]["sha256"]}")')
    body += ["", *comments, "result = transfer_style(", "    target,", "    style,"]
    body += [f"    {name}={_literal(name, value, metadata)}," for name, value in arguments.items()]
    body += [
        ")",
        'print(f"{result.stopped} after {len(result.losses.total)} steps, total loss {result.losses.total[-1]:.6g}")',
        f'files = save_transfer(result, "napari-nst", {names[0]!r}, {names[1]!r})',
        'print(f"Saved {files.image} with its losses, learning curves and record.")',
    ]

    def used(name: str) -> bool:
        return any(f"{name}(" in line for line in body)

    lines = [
        f"# Style transfer: the target {names[0]!r} in the style of {names[1]!r}.",
        f"# Made by napari-nst {metadata[KEY]}; equal to the last bit at the device, precision and threads given below.",
        *(["import numpy as np", ""] if used("np.asarray") else []),
        f"from napari_nst import {', '.join(filter(used, ('ImageFile', 'mosaic_pair', 'save_transfer', 'transfer_style')))}",
        *(["from napari_nst.imaging.masks import unpack_mask"] if used("unpack_mask") else []),
        "from napari_nst.imaging.values import digest_of",
        "",
        *_CHECK.splitlines(),
        "",
        "",
    ]
    return "\n".join(lines + body) + "\n"


def _source(metadata: Mapping[str, Any], role: str) -> dict[str, Any]:
    """Where an image came from: a layer's record has it under one name, a file beside a run under the other."""
    sources = metadata.get("layers_source") or metadata.get("inputs") or {}
    return sources.get(role) or {}


def _arguments(metadata: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The fewest arguments that repeat the run, and comments about them."""
    everything = arguments_from(metadata)
    fields = {spec.name for spec in StyleTransferParameters.specs()}
    wanted = StyleTransferParameters(**{name: value for name, value in everything.items() if name in fields})
    chosen = {"preset": wanted.preset, **wanted.changed()}
    chosen |= {name: getattr(wanted, name) for name in ("device", "precision", "threads")}
    comments = []
    if metadata.get("stopped") == "cancelled":
        steps = int(metadata.get("steps", 0))
        if len(metadata.get("planes", [None])) == 1 and steps > 0:
            chosen["epoch"] = steps
            comments = [f"# The run was stopped by hand after {steps} of {wanted.epoch} steps."]
        else:
            comments = ["# The run was stopped by hand; this goes on to its end."]
    for name, role in (("rgb", "target"), ("style_rgb", "style")):
        if name in everything and everything[name] == (metadata.get(role, {}).get("shape", [0])[-1] in (3, 4)):
            del everything[name]  # what transfer_style finds by itself
    ordered = {name: chosen[name] for name in wanted.asdict() if name in chosen}
    return ordered | {name: value for name, value in everything.items() if name not in fields}, comments


def _input(role: str, metadata: Mapping[str, Any]) -> list[str]:
    """The lines by which the script gets one image."""
    source, record = _source(metadata, role), metadata.get(role, {})
    cut, path = metadata.get("region", {}).get(role), source.get("path")
    index = _index(source, record, cut)
    taken = _subscript(index) + _transposed(cut, record)
    if path and EXTENSION.search(str(path)):
        # napari's reader keeps the byte order of the file; ours makes it the machine's.
        dtype = str(record.get("dtype", ""))
        swapped = f'.astype("{dtype}")' if dtype.startswith(">") else ""
        return [f"{role} = ImageFile({str(path)!r}).data{taken}{swapped}"]
    sample = None if path else _sample(source, record, index)
    if sample is not None:
        dtype, attribute = sample
        pair, how = ("pair", "") if dtype == "uint8" else ("pair_16bit", f'dtype="{dtype}"')
        return [f"{pair} = mosaic_pair({how})", f"{role} = {pair}.{attribute}{taken}"]
    name = source.get("name") or metadata.get("layers", {}).get(role)
    if name is None:
        comment = f"# The record does not say which image this was: put the path of the {role} here."
        return [comment, f'{role} = ImageFile("PATH OF THE {role.upper()}").data']
    level = "[0]" if source.get("multiscale") else ""
    comment = "# This layer has no file that can be read here, so run the script in napari's console."
    return [comment, f"{role} = np.asarray(viewer.layers[{name!r}].data{level}{taken})"]


def _index(source: Mapping[str, Any], record: Mapping[str, Any], cut: Mapping[str, Any] | None) -> tuple[Any, ...]:
    """The index that takes the plane and the region out of the whole array."""
    plane, region = source.get("index"), source.get("region")
    planes: list[Any] = list(plane) if isinstance(plane, (list, tuple)) else [] if plane is None else [plane]
    sides = [] if region is None else [slice(int(start), int(stop)) for start, stop in region]
    if cut is not None and list(cut["axes"]) != [len(cut["start"]) - 2, len(cut["start"]) - 1]:
        # The plane was not that of the last two axes: every axis is named.
        index: list[Any] = [slice(None)] * len(cut["start"])
        for axis, position in zip(_hidden(cut), planes, strict=False):
            index[axis] = position
        for axis, side in zip(cut["axes"], sides, strict=False):
            index[axis] = side
        return tuple(index)
    stack = len(record.get("shape", ())) > (3 if record.get("rgb") else 2)
    if sides and stack:
        # Leading axes that are still there are all kept; color, if any, is the last axis.
        return (*planes, ..., *sides, slice(None)) if record.get("rgb") else (*planes, ..., *sides)
    return (*planes, *sides)


def _hidden(cut: Mapping[str, Any]) -> list[int]:
    return [axis for axis in range(len(cut["start"])) if axis not in cut["axes"]]


def _transposed(cut: Mapping[str, Any] | None, record: Mapping[str, Any]) -> str:
    """The step that brings the plane's axes of a stack to its end, where they are not there."""
    if cut is None or cut.get("kind") != "all planes":
        return ""
    order = [*_hidden(cut), *cut["axes"]]
    if order == sorted(order):
        return ""
    return f".transpose({', '.join(map(str, [*order, *([len(order)] if record.get('rgb') else [])]))})"


def _subscript(index: Sequence[Any]) -> str:
    def text(part: Any) -> str:
        if isinstance(part, slice):
            return ":" if part.start is None else f"{part.start}:{part.stop}"
        return "..." if part is ... else str(int(part))

    return f"[{', '.join(map(text, index))}]" if index else ""


def _sample(source: Mapping[str, Any], record: Mapping[str, Any], index: tuple[Any, ...]) -> tuple[str, str] | None:
    """Which image of which sample this is: dtype and name in the pair; recognized by its SHA-256."""
    dtype = SAMPLES.get(str((source.get("sample") or (None, None))[1]))
    if dtype is None or record.get("dtype") != dtype:
        return None
    pair = mosaic_pair(dtype=dtype)
    for attribute in ROLES:
        image = getattr(pair, attribute)[index]
        if digest_of(image.shape, image.dtype, [image]) == record.get("sha256"):
            return dtype, attribute
    return None


def _name(role: str, metadata: Mapping[str, Any]) -> str:
    source = _source(metadata, role)
    return str(source.get("name") or metadata.get("layers", {}).get(role) or role)


def _literal(name: str, value: Any, metadata: Mapping[str, Any]) -> str:
    if not isinstance(value, np.ndarray):
        return repr(value).replace("'", '"') if '"' not in repr(value) and "\\" not in repr(value) else repr(value)
    packed = metadata["arguments"][name]
    text = "\n".join(f'            "{line}"' for line in textwrap.wrap(packed["data"], 96)) or '            ""'
    return (
        "unpack_mask({\n"
        f'        "shape": {list(packed["shape"])!r},\n'
        f'        "encoding": "{packed["encoding"]}",\n'
        f'        "data": (\n{text}\n        ),\n'
        "    })"
    )
