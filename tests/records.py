"""Damaged records: another value in any place of a JSON file."""

import copy
import math


def places(value, path=()):
    """Every place in a record."""
    yield path
    for key, entry in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        yield from places(entry, (*path, key))


def changed(record, path, value):
    """A copy of a record with another value in one place, or without it where `value` is `...`."""
    if not path:
        return value
    made, (key, *rest) = copy.copy(record), path
    if value is ... and not rest:
        del made[key]
    else:
        made[key] = changed(record[key], rest, value) if rest else value
    return made


DAMAGE = [..., None, True, -1, 10**30, 1.5, math.nan, math.inf, "", "x", "../x", "a\0b", [], [None], {}, {"x": 1}]
