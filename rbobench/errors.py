"""What a user did wrong, said in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """A mistake of the user's, not of the program's.

    The message is one line that names the thing, the place and, where it can, the cure. The command
    line prints it without a traceback and ends with exit code 2.
    """


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """An error for a name nobody has registered, with the known names that are near.

    Args:
        kind: What was looked up, e.g. `"optimizer"`.
        name: The name as it was given.
        known: Every name that would have been right.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=3, cutoff=0.6)
    spelled = {n.lower(): n for n in names}
    if near:
        hint = f"; did you mean {' or '.join(repr(spelled[n]) for n in near)}?"
    elif names and len(names) <= 12:
        hint = f"; known: {', '.join(names)}"
    else:
        hint = ""
    return UsageError(f"unknown {kind} {name!r}{hint}")
