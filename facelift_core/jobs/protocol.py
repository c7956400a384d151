"""Requests as plain data for JSON, from programs that may be of another version."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Any, TypeVar

from ..errors import FaceLiftError

T = TypeVar("T")


def read(cls: type[T], data: Any, required: Collection[str]) -> T:
    """The dataclass `cls` of strings, numbers and switches from its ``asdict``; fields with a default may be missing.

    Raises:
        FaceLiftError: `data` is something else, for example of another version.
    """
    types = {f.name: type(f.default) if isinstance(f.default, (bool, int, float)) else str for f in fields(cls)}
    if not isinstance(data, dict) or not set(required) <= set(data) <= set(types):
        raise FaceLiftError("The request is not one that this version of FaceLift understands.")
    for name, value in data.items():
        if not (type(value) is types[name] or (types[name] is float and type(value) is int)):
            raise FaceLiftError(f"The request's {name} should be a {types[name].__name__}, not {value!r}.")
    return cls(**data)
