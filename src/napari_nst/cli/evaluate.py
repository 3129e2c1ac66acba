"""The command ``napari-nst evaluate``: what an enhancement did to the cones."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_nst.cli.options import DONE, FAILED, mask_help, read_mask, typed
from napari_nst.errors import FileError, ImageError, ParameterError
from napari_nst.settings.parameters import StyleTransferParameters

if TYPE_CHECKING:
    from napari_nst.io.images import ImageFile
    from napari_nst.metrics.annotations import Annotations, Scores
    from napari_nst.metrics.assessment import Assessment
    from napari_nst.metrics.matching import Agreement

__all__ = ["add_evaluate"]

#: From good to bad; --fail-on names one of the last two.
_LEVELS = ("unchanged", "trusted", "look", "distrust")
#: Pixels that are less square than this have no one size.
_SQUARE = 1.02
_NO_PIXEL_SIZE = "unknown (no --pixel-size, and none in the files): no density is given"
_COLUMNS = ("", "within", "Dice", "TPR", "FDR", "TP", "FP", "FN", "off by", "found", "invented")
#: Options that need a result, and those that need annotations.
_OF_RESULT = ("style", "style_mask", "pixel_size", "value_range", "fail_on")
_OF_ANNOTATIONS = ("annotations_order", "annotations_base", "border", "spacing")


def add_evaluate(commands: Any) -> None:
    """Add the command to the parser's commands."""
    evaluate = commands.add_parser(
        "evaluate",
        help="measure what an enhancement did to the cones, alone or against manual annotations",
        description="Compare RESULT with the TARGET that it was made of, whatever made it: cones kept, lost and new, spacing, "
        "density, spectra, structure, and a verdict with its reasons. With --annotations, score the cones that are found in "
        "one or two images against manual annotations. Exit status: 0 done, whatever the verdict; 1 failed, or the verdict of "
        "--fail-on; 2 wrong usage.",
        epilog="A verdict is advice on where to look. It cannot prove that a cone is there, and it is nothing for diagnosis.",
    )
    add = evaluate.add_argument
    add("target", metavar="TARGET", type=Path, help="the image before; gray, or a plane of a stack")
    text = "the image after, of the same size; optional with --annotations"
    add("result", metavar="RESULT", nargs="?", type=Path, help=text)
    add("--style", metavar="FILE", type=Path, help="the style, to be measured beside the two")
    text = "µm on the retina per pixel, for densities (default: what OME or ImageJ metadata say, else unknown)"
    add("--pixel-size", "--scale", metavar="UM", type=float, help=text)
    text = "the plane of stacks, counted from 0 as napari does; 2,5 for two axes"
    add("--plane", metavar="N[,N]", type=_plane, help=text)
    for name, what in (("mask", "TARGET and RESULT"), ("style-mask", "STYLE")):
        add(f"--{name}", metavar="FILE", help=mask_help(what))
    text = (
        "black and white, as 0,4095, for the structural similarity (default: 0,255 for 8 bits, else the target's own)"
    )
    add("--value-range", metavar="RANGE", type=typed(StyleTransferParameters.spec("value_range")), help=text)
    text = "write the assessment (.json, .png) and the places of kept, lost and new cones (.csv) to this folder"
    add("-o", "--output", metavar="DIR", type=Path, help=text)
    text = "what written tables call the first pixel (default: 0)"
    add("--coordinates-base", type=int, choices=(0, 1), default=0, help=text)
    add("--json", action="store_true", help="print the assessment as JSON instead of text")
    add("--fail-on", choices=_LEVELS[:1:-1], help="exit status 1 at this verdict or a worse one, for scripts")
    add = evaluate.add_argument_group(
        "manual annotations",
        "Order and base are asked for: a file does not say them, and a wrong guess moves every annotation. --marks, "
        "--marks-order and --marks-base are older names of the same options.",
    ).add_argument
    text = "annotated cones: two columns, header or none"
    add("--annotations", "--marks", metavar="FILE.csv", type=Path, help=text)
    add("--annotations-order", "--marks-order", choices=("xy", "yx"), help="xy: column first; yx: row first")
    add("--annotations-base", "--marks-base", type=int, choices=(0, 1), help="what FILE.csv calls the first pixel")
    text = "width along the edges that is not scored, because cones are cut there; the published protocol has 7 (default: 7)"
    add("--border", metavar="PX", type=float, help=text)
    text = "cone spacing that tolerances are parts of (default: median distance of neighboring annotations)"
    add("--spacing", metavar="PX", type=float, help=text)
    evaluate.set_defaults(run=_evaluate)


def _plane(text: str) -> tuple[int, ...]:
    try:
        plane = tuple(int(part) for part in text.split(","))
    except ValueError:
        plane = (-1,)
    if min(plane) < 0:
        raise argparse.ArgumentTypeError(
            f"must be the number of a plane, from 0, such as 3, or 3,1 for two axes, got {text!r}."
        )
    return plane


def _evaluate(options: argparse.Namespace) -> int:
    _check(options)
    from napari_nst.io.images import ImageFile
    from napari_nst.io.records import to_json

    paths = {"target": options.target, "result": options.result, "style": options.style}
    files = {role: ImageFile.read(path) for role, path in paths.items() if path is not None}
    images = _planes(files, options.plane)
    mask = _mask(options.mask, "target", images)
    document: dict[str, Any] = {"pictures": {role: _described(file) for role, file in files.items()}}
    lines: list[str] = [f"{role.capitalize() + ':':8} {file.path}" for role, file in files.items()]
    scores: list[str] = []
    if options.annotations is not None:  # a wrong option is reported before anything takes long
        document["marks"], scores = _score(options, images, mask)
    assessment = None
    if "result" in images:
        from napari_nst.metrics.assessment import assess

        pixel_size, source = _pixel_size(options.pixel_size, files)
        assessment = assess(
            images["target"],
            images["result"],
            images.get("style"),
            pixel_size,
            mask=mask,
            style_mask=_mask(options.style_mask, "style", images),
            value_range=_value_range(options.value_range, images["target"], mask),
        )
        document["assessment"] = assessment.to_dict()
        lines += [f"{'Pixel size:':8} {source}", "", str(assessment)]
    print(to_json(document) if options.json else "\n".join([*lines, *scores]))
    if options.output is not None:
        for label, path in _save(options, files, document, assessment).items():
            print(f"{label + ':':8} {path}", file=sys.stderr if options.json else sys.stdout)
    return _status(options, assessment)


def _check(options: argparse.Namespace) -> None:
    """Report what does not go together before any image is read."""

    def refuse(names: Sequence[str], reason: str) -> None:
        for name in names:
            if getattr(options, name) is not None:
                raise ParameterError(f"--{name.replace('_', '-')} {reason}")

    if options.result is None:
        if options.annotations is None:
            raise ParameterError(
                "two images are needed: napari-nst evaluate TARGET RESULT. One alone can be scored with --annotations FILE.csv."
            )
        refuse(_OF_RESULT, "needs TARGET and RESULT, but there is one image only.")
    if options.annotations is None:
        refuse(_OF_ANNOTATIONS, "says how to score against annotations; give --annotations FILE.csv too.")
    if options.style is None:
        refuse(["style_mask"], "needs --style FILE.")
    for name, least, what in (
        ("pixel_size", math.ulp(0.0), "a positive pixel size (µm/px)"),
        ("border", 0.0, "a width in pixels, 0 or more"),
        ("spacing", math.ulp(0.0), "a distance in pixels, above 0"),
    ):
        value = getattr(options, name)
        if value is not None and not least <= value < math.inf:
            raise ParameterError(f"--{name.replace('_', '-')} must be {what}, got {value:g}.")
    folder = options.output
    if folder is not None and (folder.is_file() or folder.suffix.lower() in (".json", ".png", ".csv")):
        raise ParameterError(
            f"--output must be a folder, and {folder} looks like a file. The file names are made from the result's."
        )


def _planes(files: Mapping[str, ImageFile], plane: tuple[int, ...] | None) -> dict[str, NDArray[Any]]:
    """One gray plane of each image."""
    if plane is not None and not any(_stack_and_color(file.data)[0] for file in files.values()):
        raise ParameterError("--plane names a plane of a stack, but none of the images is a stack; leave it out.")
    return {role: _gray_plane(file, plane) for role, file in files.items()}


def _stack_and_color(array: NDArray[Any]) -> tuple[tuple[int, ...], bool]:
    """The leading axes that have more than one plane, and whether the last one has colors."""
    color = array.ndim > 2 and array.shape[-1] in (3, 4)
    return tuple(side for side in array.shape[: -3 if color else -2] if side > 1), color


def _gray_plane(file: ImageFile, plane: tuple[int, ...] | None) -> NDArray[Any]:
    stack, color = _stack_and_color(file.data)
    array = file.data.reshape(*stack, *file.data.shape[-3 if color else -2 :])
    if stack:
        last, sides = ",".join(str(side - 1) for side in stack), " × ".join(map(str, stack))
        if plane is None:
            raise ParameterError(
                f"{file.name} is a stack of {sides} planes; choose one with --plane, the last is {last}."
            )
        if len(plane) != len(stack) or any(at >= side for at, side in zip(plane, stack, strict=True)):
            raise ParameterError(
                f"--plane {','.join(map(str, plane))} is not in {file.name}, a stack of {sides} planes: the first is "
                f"{','.join('0' * len(stack))}, the last {last}."
            )
        array = array[plane]
    if color:
        if not (array[..., :3] == array[..., :1]).all():
            raise ImageError(
                f"{file.name} is a color image; cones are measured in one gray plane. Save the channel that shows them as "
                "a gray image."
            )
        array = array[..., 0]  # gray that was saved as RGB
    return np.ascontiguousarray(array)


def _mask(given: str | None, role: str, images: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_] | None:
    if given is None:
        return None
    from napari_nst.imaging.masks import black_border, check_mask

    return black_border(images[role]) if given == "border" else check_mask(read_mask(given), images[role].shape)


def _pixel_size(given: float | None, files: Mapping[str, ImageFile]) -> tuple[float | None, str]:
    """µm per pixel or None, and where they come from."""
    if given is not None:
        return given, f"{given:g} µm (--pixel-size)"
    for role in ("target", "result"):  # other programs often lose the size when they save a result
        info = files[role].info
        size = None if info is None else info.pixel_size_um
        if size is None:
            continue
        if max(size) > _SQUARE * min(size):
            return None, (
                f"unknown: pixels of {files[role].name} are {size[0]:g} × {size[1]:g} µm, not square; resample the images or "
                "give --pixel-size"
            )
        return math.sqrt(size[0] * size[1]), f"{math.sqrt(size[0] * size[1]):g} µm (from the {role}'s file)"
    return None, _NO_PIXEL_SIZE


def _value_range(given: Any, target: NDArray[Any], mask: NDArray[np.bool_] | None) -> tuple[float, float] | None:
    """The range as two numbers; None leaves it to the assessment."""
    if given is None or given == "auto":
        return None
    from napari_nst.imaging.values import find_range

    found = find_range(target if mask is None else target[mask], given, "target")
    return (found.low, found.high)


def _save(
    options: argparse.Namespace, files: Mapping[str, ImageFile], document: dict[str, Any], assessment: Assessment | None
) -> dict[str, Path]:
    """Write what there is; nothing that exists is overwritten."""
    from napari_nst.io.filenames import safe_stem
    from napari_nst.io.records import write_record

    if assessment is None:
        name = safe_stem(f"{files['target'].stem}_marks", limit=200)
        return {"Scores": write_record(options.output / f"{name}.json", document)}
    stem, base = safe_stem(files["result"].stem, limit=200), options.coordinates_base
    return assessment.save(options.output, stem, document, ending="_assessment", coordinates_base=base)


def _status(options: argparse.Namespace, assessment: Assessment | None) -> int:
    if assessment is None or options.fail_on is None:
        return DONE
    level = assessment.verdict.level
    if _LEVELS.index(level) < _LEVELS.index(options.fail_on):
        return DONE
    print(f"napari-nst evaluate: the verdict is {level}, and --fail-on is {options.fail_on}.", file=sys.stderr)
    return FAILED


def _described(file: ImageFile) -> dict[str, Any]:
    return {"path": str(file.path.resolve()), "sha256": file.info.sha256 if file.info else None}


# Manual annotations


def _score(
    options: argparse.Namespace, images: Mapping[str, NDArray[Any]], mask: NDArray[np.bool_] | None
) -> tuple[dict[str, Any], list[str]]:
    """The scores of one or two images, for the record and as lines to be read."""
    from napari_nst.metrics.annotations import Annotations, differences, score
    from napari_nst.metrics.assessment import BORDER

    path, order, base = options.annotations, options.annotations_order, options.annotations_base
    height, width = images["target"].shape
    if order is None or base is None:
        raise ParameterError(_what_fits(path, (height, width), order, base))
    try:
        annotations = Annotations.read(
            path,
            (height, width),
            order=order,
            base=base,
            border=BORDER if options.border is None else options.border,
            spacing=options.spacing,
            mask=mask,
        )
    except FileError as error:
        how = "(base is --annotations-base; 'xy' is --annotations-order xy, 'rowcol' is yx.)"
        raise FileError(f"{error} {how}" if "base=" in str(error) or "order=" in str(error) else str(error)) from error
    if images.get("result", images["target"]).shape != (height, width):
        raise ImageError(
            f"The target has shape {(height, width)}, the result {images['result'].shape}; annotations belong to images of one "
            "size. Pass two images of the very same place."
        )
    # Records of one image call it so since version 0.1.
    names = {"target": "target", "result": "result"} if "result" in images else {"picture": "target"}
    scores = {name: score(images[role], annotations, mask=mask) for name, role in names.items()}
    document: dict[str, Any] = {**annotations.to_dict(), "scores": scores}
    if len(scores) == 2:
        document["result_less_target"] = differences(scores["target"], scores["result"])
    return document, ["", *_score_lines(annotations, scores, document.get("result_less_target", []))]


def _score_lines(
    annotations: Annotations, scores: Mapping[str, Sequence[Scores]], gains: Sequence[Mapping[str, float]]
) -> list[str]:
    if not annotations.inside.any():
        advice = "No annotation is left inside: nothing can be scored. Give a smaller --border, or another mask."
        return [str(annotations), advice]
    rows: list[tuple[str, ...]] = [_COLUMNS]  # cells that end a row may be left out
    for name, entries in scores.items():
        for entry in entries:
            label = f"{name.replace('picture', 'image')}, confidence {entry.confidence:g}"
            rows += [(label, *_cells(one), str(entry.found), str(entry.invented)) for one in entry.agreements]
            chance = f"  chance level ({entry.found} points, random lattice)"
            rows += [(chance, _within(one), _share(one.chance_dice)) for one in entry.agreements]
    if gains:
        rows.append(("result less target",))
    rows += [
        (
            f"  confidence {gain['confidence']:g}",
            f"{gain['tolerance']:g}",
            *(_share(gain[name], "+.3f") for name in ("dice", "true_positive_rate", "false_discovery_rate")),
            *("",) * 3,
            _share(gain["median_distance_px"], "+.2f", " px"),
            f"{gain['found']:+d}",
            f"{gain['invented']:+d}",
        )
        for gain in gains
    ]
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    formats = [f"{{:{'<' if place < 2 else '>'}{width}}}" for place, width in enumerate(widths)]
    return [
        str(annotations),
        *("  ".join(map(str.format, formats, row)).rstrip() for row in rows),
        "within: tolerance in spacings. Compare with the chance level, and read 0.35 first.",
        "invented: farther than 0.75 spacings from every annotation. off by: median distance of a matched cone.",
    ]


def _cells(one: Agreement) -> tuple[str, ...]:
    return (
        _within(one),
        *(_share(value) for value in (one.dice, one.true_positive_rate, one.false_discovery_rate)),
        *(str(value) for value in (one.true_positives, one.false_positives, one.false_negatives)),
        _share(one.median_distance_px, ".2f", " px"),
    )


def _within(one: Agreement) -> str:
    return f"{one.tolerance:g} ({one.tolerance_px:.1f} px)"


def _share(value: float, digits: str = ".3f", unit: str = "") -> str:
    return "–" if math.isnan(value) else f"{value:{digits}}{unit}"


def _what_fits(path: Path, shape: tuple[int, int], order: str | None, base: int | None) -> str:
    """Why the options are needed, and which of their values the file allows."""
    from napari_nst.metrics.annotations import Annotations

    readings, reason = Annotations.readings(path, shape, order, base)
    fitting = [f"--annotations-order {name} --annotations-base {first}" for name, first in readings]
    missing = " and ".join(
        option for option, value in (("--annotations-order", order), ("--annotations-base", base)) if value is None
    )
    if not fitting:
        return f"--annotations needs {missing}, and no value of them lets {path} fit the image. {reason}"
    return (
        f"--annotations needs {missing}: whether x (column) or y (row) comes first in {path}, and whether its first pixel is 0 "
        "or 1. A wrong guess would mirror the annotations, or shift all of them by a pixel. Ask who made the file: MATLAB starts "
        f"with 1, Python and napari with 0. In the image of {shape[0]} × {shape[1]} pixels (height × width) "
        f"{'only ' if len(fitting) == 1 else ''}{' or '.join(fitting)} would fit."
    )
