"""What a file's content must look like, as a table, and the first place where it does not."""

from numbers import Real
from types import UnionType
from typing import Any

# A type, or several; [of what] for a list; {name: of what} for a table with at least these names,
# but for those that end in a question mark; {ANY: of what} where the names are the data's own.
Shape = Any
ANY = object()
PLAIN = {Real: "a number", str: "text", dict: "a table of names", list: "a list"}


def misfit(content: Any, shape: Shape, place: str = "") -> str:
    """Where a content differs from a shape first, and how; "" where it does not.

    >>> misfit({"a": [1, "x"]}, {"a": [Real]})
    "a[1]: expected a number, found 'x'"
    """
    if isinstance(shape, list):
        return _in_list(content, shape[0], place)
    if isinstance(shape, dict):
        return _in_table(content, shape, place)
    if isinstance(content, shape) and not (isinstance(content, bool) and shape is Real):
        return ""
    return _expected(_named(shape), content, place)


def _in_list(content: Any, shape: Shape, place: str) -> str:
    if not isinstance(content, list):
        return _expected(PLAIN[list], content, place)
    found = (misfit(item, shape, f"{place}[{i}]") for i, item in enumerate(content))
    return next(filter(None, found), "")


def _in_table(content: Any, shape: dict[Any, Shape], place: str) -> str:
    if not isinstance(content, dict):
        return _expected(PLAIN[dict], content, place)
    if ANY in shape:
        shape = dict.fromkeys(content, shape[ANY])
    else:
        maybe = {name[:-1]: of for name, of in shape.items() if name.endswith("?")}
        always = {name: of for name, of in shape.items() if not name.endswith("?")}
        shape = always | {name: of for name, of in maybe.items() if name in content}
    missing = [name for name in shape if name not in content]
    if missing:
        return f"{place + ': ' if place else ''}expected {', '.join(missing)}, which it lacks"
    start = f"{place}." if place else ""
    found = (misfit(content[name], of, f"{start}{name}") for name, of in shape.items())
    return next(filter(None, found), "")


def _expected(what: str, content: Any, place: str) -> str:
    return f"{place + ': ' if place else ''}expected {what}, found {str(content)[:40]!r}"


def _named(shape: type | UnionType) -> str:
    kinds = shape.__args__ if isinstance(shape, UnionType) else (shape,)
    return " or ".join("nothing" if k is type(None) else PLAIN.get(k, k.__name__) for k in kinds)
