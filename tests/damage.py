"""Ways in which a JSON file comes to harm: cut off, another file under its name, entries of another type or missing."""

from __future__ import annotations

import copy
import json

#: What an entry may be replaced by; of its own type, a value is left alone.
OTHERS = (None, "text", "", -1, 0, 10**30, 1.5, float("nan"), float("inf"), True, [], {}, [[1]], {"a": 1})


def entries(value, path=()):
    """Every place of a JSON value, (key, key, ...), from the top down; of long lists the first place alone."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from entries(inner, (*path, key))


def damaged_entries(record):
    """(what was done, damaged copy): every entry removed, and replaced by values of other types."""
    for path in entries(record):
        *parents, last = path
        for other in ("removed", *OTHERS):
            changed = copy.deepcopy(record)
            inner = changed
            for key in parents:
                inner = inner[key]
            if other == "removed":
                del inner[last]
            elif type(inner[last]) is type(other) and other != "removed":
                continue
            else:
                inner[last] = other
            yield f"{'.'.join(map(str, path))}: {other!r}", changed


def damaged_files(text):
    """(what was done, bytes): the file as a whole."""
    data = text.encode()
    for part in (0, 1, len(data) // 3, len(data) - 2):
        yield f"cut off after {part} bytes", data[:part]
    for top in ("[]", "null", "3", '"text"', "NaN", "{}", '{"napari_nst": 3}', "[" * 5000):
        yield f"another file: {top[:20]}", top.encode()
    yield "not UTF-8", b"\xff\xfe\x00" + data
    yield "another kind of file", b"\x89PNG\r\n\x1a\n" + bytes(64)
    yield "not a number", data.replace(b"1", b"1x", 1)


def every_damage(text):
    """(what was done, bytes) of both kinds."""
    yield from damaged_files(text)
    for what, changed in damaged_entries(json.loads(text)):
        yield what, json.dumps(changed).encode()
