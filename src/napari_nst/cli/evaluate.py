"""The command ``napari-nst evaluate``: what an enhancement did to the cones."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_nst.cli.options import DONE, FAILED, read_mask, typed
from napari_nst.errors import ImageError, ParameterError
from napari_nst.settings.parameters import StyleTransferParameters

if TYPE_CHECKING:
    from napari_nst.cli.annotations import Marks, Scores
    from napari_nst.io.images import ImageFile
    from napari_nst.metrics.assessment import Assessment

__all__ = ["add_evaluate"]

#: From good to bad; --fail-on names one of the last two.
_LEVELS = ("unchanged", "trusted", "look", "distrust")
#: Pixels that are less square than this have no one size.
_SQUARE = 1.02

_NO_SCALE = "unknown (no --scale, and no pixel size in the files): no density is given"


def add_evaluate(commands: Any) -> None:
    """Add the command to the parser's commands."""
    evaluate = commands.add_parser(
        "evaluate",
        help="measure what an enhancement did to the cones, alone or against hand marks",
        description="Compare RESULT with the TARGET that it was made of, whatever made it: cones kept, lost and new, spacing, "
        "density, spectra, structure, and a verdict with its reasons. With --marks, score the cones that are found in one "
        "or two pictures against hand marks. Exit status: 0 done, whatever the verdict; 1 failed, or the verdict of "
        "--fail-on; 2 wrong usage.",
        epilog="A verdict is advice on where to look. It cannot prove that a cone is there, and it is nothing for diagnosis.",
    )
    evaluate.add_argument("target", metavar="TARGET", type=Path, help="the picture before; grey, or a plane of a stack")
    evaluate.add_argument(
        "result",
        metavar="RESULT",
        nargs="?",
        type=Path,
        help="the picture after, of the same size; optional with --marks",
    )
    evaluate.add_argument("--style", metavar="FILE", type=Path, help="the style, to be measured beside the two")
    evaluate.add_argument(
        "--scale",
        metavar="UM",
        type=float,
        help="micrometres on the retina per pixel, for densities (default: what OME or ImageJ metadata say, else unknown)",
    )
    evaluate.add_argument(
        "--plane",
        metavar="N[,N]",
        type=_plane,
        help="the plane of stacks, counted from 0 as napari does; 2,5 for two axes",
    )
    for name, what in (("mask", "TARGET and RESULT"), ("style-mask", "STYLE")):
        evaluate.add_argument(
            f"--{name}",
            metavar="FILE",
            help=f"picture of the size of {what} whose pixels other than 0 are used, or 'border' to leave out a black border",
        )
    evaluate.add_argument(
        "--value-range",
        metavar="RANGE",
        type=typed(StyleTransferParameters.spec("value_range")),
        help="black and white, as 0,4095, for the structural similarity (default: 0,255 for 8 bits, else the target's own)",
    )
    evaluate.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=Path,
        help="write the assessment (.json, .png) and the places of kept, lost and new cones (.csv) to this folder",
    )
    evaluate.add_argument(
        "--coordinates-base",
        type=int,
        choices=(0, 1),
        default=0,
        help="what written tables call the first pixel (default: 0)",
    )
    evaluate.add_argument("--json", action="store_true", help="print the assessment as JSON instead of text")
    evaluate.add_argument(
        "--fail-on", choices=_LEVELS[:1:-1], help="exit status 1 at this verdict or a worse one, for scripts"
    )
    marks = evaluate.add_argument_group(
        "hand marks", "Order and base are asked for: a file does not say them, and a wrong guess moves every mark."
    )
    marks.add_argument(
        "--marks", metavar="MARKS.csv", type=Path, help="cones marked by hand: two columns, header or none"
    )
    marks.add_argument("--marks-order", choices=("xy", "yx"), help="xy: column first; yx: row first")
    marks.add_argument("--marks-base", type=int, choices=(0, 1), help="what MARKS.csv calls the first pixel")
    marks.add_argument(
        "--border",
        metavar="PX",
        type=float,
        default=None,
        help="width along the edges that is not scored, because cones are cut there; the published protocol has 7 (default: 7)",
    )
    marks.add_argument(
        "--spacing",
        metavar="PX",
        type=float,
        help="cone spacing that tolerances are parts of (default: median distance of neighbouring marks)",
    )
    evaluate.set_defaults(run=_evaluate)


def _plane(text: str) -> tuple[int, ...]:
    try:
        plane = tuple(int(part) for part in text.split(","))
    except ValueError:
        plane = (-1,)
    if min(plane) < 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no plane; give its number, from 0, such as 3, or 3,1 for two axes."
        )
    return plane


def _evaluate(options: argparse.Namespace) -> int:
    _check(options)
    from napari_nst.io.images import ImageFile

    paths = {"target": options.target, "result": options.result, "style": options.style}
    files = {role: ImageFile.read(path) for role, path in paths.items() if path is not None}
    pictures = _planes(files, options.plane)
    shape, mask = pictures["target"].shape, _mask(options.mask, "target", pictures)
    document: dict[str, Any] = {"pictures": {role: _described(file) for role, file in files.items()}}
    lines: list[str] = [f"{role.capitalize() + ':':8} {file.path}" for role, file in files.items()]

    marks: Marks | None = None
    scored: dict[str, tuple[Scores, ...]] = {}
    if options.marks is not None:
        marks, scored = _against_marks(
            options, shape, mask, pictures
        )  # a wrong option is told before anything takes long
        document["marks"] = _marks_document(marks, scored)

    assessment = None
    if "result" in pictures:
        from napari_nst.metrics.assessment import assess

        um_per_px, said = _scale(options.scale, files)
        assessment = assess(
            pictures["target"],
            pictures["result"],
            pictures.get("style"),
            um_per_px,
            mask=mask,
            style_mask=_mask(options.style_mask, "style", pictures),
            value_range=_value_range(options.value_range, pictures["target"], mask),
        )
        document["assessment"] = assessment.to_dict()
        lines += [f"{'Scale:':8} {said}", "", str(assessment)]
    if marks is not None:
        from napari_nst.cli.annotations import score_lines

        lines += ["", *score_lines(marks, tuple(scored.items()))]
    text = json.dumps(_plain(document), indent=2, ensure_ascii=False, allow_nan=False)
    print(text if options.json else "\n".join(lines))
    if options.output is not None:
        for label, path in _save(options, files, text, assessment):
            print(f"{label + ':':8} {path}", file=sys.stderr if options.json else sys.stdout)
    return _status(options, assessment)


def _check(options: argparse.Namespace) -> None:
    """Tell what does not go together before any picture is read."""
    if options.result is None and options.marks is None:
        raise ParameterError(
            "two pictures are needed: napari-nst evaluate TARGET RESULT. One alone can be scored with --marks MARKS.csv."
        )
    if options.result is None:
        for name in ("style", "style_mask", "scale", "value_range", "fail_on"):
            if getattr(options, name) is not None:
                raise ParameterError(
                    f"--{name.replace('_', '-')} needs TARGET and RESULT, but there is one picture only."
                )
    if options.marks is None:
        for name in ("marks_order", "marks_base", "border", "spacing"):
            if getattr(options, name) is not None:
                raise ParameterError(
                    f"--{name.replace('_', '-')} says how to score against marks; give --marks MARKS.csv too."
                )
    if options.style_mask is not None and options.style is None:
        raise ParameterError("--style-mask needs --style FILE.")
    if options.scale is not None and not 0 < options.scale < math.inf:
        raise ParameterError(f"--scale: {options.scale:g} is no scale; give micrometres per pixel, above 0.")
    if options.output is not None and (
        options.output.is_file() or options.output.suffix.lower() in (".json", ".png", ".csv")
    ):
        raise ParameterError(
            f"--output: {options.output} looks like a file; give a folder, the file names are made from the result's."
        )


def _planes(files: Mapping[str, ImageFile], plane: tuple[int, ...] | None) -> dict[str, NDArray[Any]]:
    """One grey plane of each picture."""
    if plane is not None and not any(_stack_axes(file.data) for file in files.values()):
        raise ParameterError("--plane names a plane of a stack, but none of the pictures is a stack; leave it out.")
    return {role: _grey_plane(file, plane) for role, file in files.items()}


def _stack_axes(array: NDArray[Any]) -> tuple[int, ...]:
    """The leading axes that have more than one plane."""
    colour = array.ndim > 2 and array.shape[-1] in (3, 4)
    return tuple(side for side in array.shape[: -3 if colour else -2] if side > 1)


def _grey_plane(file: ImageFile, plane: tuple[int, ...] | None) -> NDArray[Any]:
    array, stack = file.data, _stack_axes(file.data)
    colour = array.ndim > 2 and array.shape[-1] in (3, 4)
    array = array.reshape(*stack, *array.shape[-3 if colour else -2 :])
    if stack:
        last = ",".join(str(side - 1) for side in stack)
        if plane is None:
            raise ParameterError(
                f"{file.name} is a stack of {' × '.join(map(str, stack))} planes; choose one with --plane, the last is {last}."
            )
        if len(plane) != len(stack) or any(at >= side for at, side in zip(plane, stack, strict=True)):
            raise ParameterError(
                f"--plane {','.join(map(str, plane))} is not in {file.name}, a stack of {' × '.join(map(str, stack))} planes: the "
                f"first is {','.join('0' * len(stack))}, the last {last}."
            )
        array = array[plane]
    if colour:
        if not (array[..., :3] == array[..., :1]).all():
            raise ImageError(
                f"{file.name} is a colour picture; cones are measured in one grey plane. Save the channel that shows them as "
                "a grey picture."
            )
        array = array[..., 0]  # grey that was saved as RGB
    return np.ascontiguousarray(array)


def _mask(given: str | None, role: str, pictures: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_] | None:
    if given is None:
        return None
    from napari_nst.imaging.masks import black_border, check_mask

    if given == "border":
        return black_border(pictures[role])
    return check_mask(read_mask(given), pictures[role].shape)


def _scale(given: float | None, files: Mapping[str, ImageFile]) -> tuple[float | None, str]:
    """Micrometres per pixel or None, and where they come from."""
    if given is not None:
        return given, f"{given:g} µm per pixel (--scale)"
    for role in ("target", "result"):  # other programs often lose the size when they save a result
        info = files[role].info
        if info is None or info.pixel_size_um is None:
            continue
        height, width = info.pixel_size_um
        if max(height, width) > _SQUARE * min(height, width):
            return None, (
                f"unknown: pixels of {files[role].name} are {height:g} × {width:g} µm, not square; resample the pictures "
                "or give --scale"
            )
        return math.sqrt(height * width), f"{math.sqrt(height * width):g} µm per pixel (said by the {role}'s file)"
    return None, _NO_SCALE


def _value_range(given: Any, target: NDArray[Any], mask: NDArray[np.bool_] | None) -> tuple[float, float] | None:
    """The range as two numbers; None leaves it to the assessment."""
    if given is None or given == "auto":
        return None
    from napari_nst.imaging.values import find_range

    found = find_range(target if mask is None else target[mask], given, "target")
    return (found.low, found.high)


def _against_marks(
    options: argparse.Namespace,
    shape: tuple[int, ...],
    mask: NDArray[np.bool_] | None,
    pictures: Mapping[str, NDArray[Any]],
) -> tuple[Marks, dict[str, tuple[Scores, ...]]]:
    from napari_nst.cli.annotations import BORDER, read_marks, score

    marks = read_marks(
        options.marks,
        (shape[0], shape[1]),
        order=options.marks_order,
        base=options.marks_base,
        border=BORDER if options.border is None else options.border,
        spacing=options.spacing,
        mask=mask,
    )
    if "result" in pictures and pictures["result"].shape != shape:
        raise ImageError(
            f"The target has shape {shape}, the result {pictures['result'].shape}; one set of marks belongs to pictures of one "
            "size. Pass two pictures of the very same place."
        )
    names = {"target": "target", "result": "result"} if "result" in pictures else {"target": "picture"}
    return marks, {name: score(pictures[role], marks, mask=mask) for role, name in names.items()}


def _marks_document(marks: Marks, scored: Mapping[str, tuple[Scores, ...]]) -> dict[str, Any]:
    from napari_nst.cli.annotations import differences

    document = {
        **marks.to_dict(),
        "scores": {name: [one.to_dict() for one in scores] for name, scores in scored.items()},
    }
    if len(scored) == 2:
        document["result_less_target"] = differences(scored["target"], scored["result"])
    return document


def _save(
    options: argparse.Namespace, files: Mapping[str, ImageFile], text: str, assessment: Assessment | None
) -> list[tuple[str, Path]]:
    """Write what there is; nothing that exists is overwritten, one counter is added for all files together."""
    from napari_nst.io.atomic import free_stem, write_new
    from napari_nst.io.coordinates import write_coordinates
    from napari_nst.io.filenames import safe_stem
    from napari_nst.transfer.files import save_figure

    folder = options.output
    if assessment is None:
        name = safe_stem(f"{files['target'].stem}_marks", 200)
        scores = write_new(folder / f"{name}.json", lambda file: file.write_text(text + "\n", encoding="utf-8"))
        return [("Scores", scores)]
    endings = {
        "Record": "_assessment.json",
        "Figure": "_assessment.png",
        "Kept": "_kept_coords.csv",
        "Lost": "_lost_coords.csv",
        "New": "_new_coords.csv",
    }
    stem = free_stem(folder, safe_stem(files["result"].stem, 200), [f"{{}}{ending}" for ending in endings.values()])
    path = {label: folder / f"{stem}{ending}" for label, ending in endings.items()}
    saved = [
        ("Record", write_new(path["Record"], lambda file: file.write_text(text + "\n", encoding="utf-8"))),
        ("Figure", save_figure(path["Figure"], assessment.figure())),
    ]
    changes, base = assessment.cones, options.coordinates_base
    for label, points in (("Kept", changes.kept), ("Lost", changes.lost), ("New", changes.new)):
        saved.append((label, write_coordinates(path[label], points, base=base)))
    return saved


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


def _plain(value: Any) -> Any:
    """What JSON can hold: unknown numbers are null, NumPy's numbers are numbers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    value = getattr(value, "item", lambda: value)()
    return None if isinstance(value, float) and not math.isfinite(value) else value
