"""Collects every mistake of a load, so that the user sees all of them at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from stackctl.errors import Place, StackFileError, StackFileErrors
from stackctl.spec.nodes import Mark, Path

#: Where below what is looked at, what is wrong, and what to do.
Found = tuple[Path, str, str]

#: Nobody reads more, and looking for hints takes time.
_MOST = 100
_LONGEST = 400
_LONGEST_WORD = 60
#: How many values short forms (ranges of ports) and how much text variables may become; and how
#: many values services may take from others (`extends`) and from files, each a copy of its own.
_MOST_VALUES = 100_000
_MOST_COPIES = 200_000
_MOST_TEXT = 20 * 1024 * 1024


class Mistakes:
    """Mistakes and warnings of one load, in the order in which they were found.

    Also what the load may still spend: a small file must not become a large stack.
    """

    def __init__(self) -> None:
        self.errors: list[StackFileError] = []
        self.warnings: list[StackFileError] = []
        #: The section and the key of what is looked at: ("services", "web"); ("", "") for none.
        self.holder = ("", "")
        #: What the engine cannot carry out, by whose it is: a mistake only where that is wanted
        #: (see obstacles), for the file is right.
        self.refusals: dict[tuple[str, str], list[StackFileError]] = {}
        #: Whether a file that brings definitions along could not be read: any name may be of it.
        self.unread = False
        self._values = 0
        self._text = 0
        self._copies = 0
        self._told: set[str] = set()

    def add(self, brief: str, mark: Mark | None = None, *, hint: str = "") -> None:
        """Raises StackFileErrors when there are too many already."""
        self.errors.append(_error(brief, mark, hint))
        if len(self.errors) >= _MOST:
            self.raise_any()

    def refuse(self, holder: tuple[str, str], brief: str, mark: Mark, *, hint: str = "") -> None:
        """Adds what the engine cannot carry out of `holder`."""
        known = self.refusals.setdefault(holder, [])
        if len(known) < _MOST:
            known.append(_error(brief, mark, hint))

    def warn(self, brief: str, mark: Mark | None = None, *, hint: str = "") -> None:
        if len(self.warnings) < _MOST:
            self.warnings.append(_error(brief, mark, hint))

    def warn_once(self, brief: str, mark: Mark) -> None:
        """The same for what need not be told of each place where it is."""
        if brief not in self._told:
            self._told.add(brief)
            self.warn(brief, mark)

    def unset(self, name: str, mark: Mark) -> None:
        """Warns of a variable that nobody has set, once a name."""
        self.warn_once(f'the variable "{name}" is not set: an empty string takes its place', mark)

    def spend(self, mark: Mark, *, values: int = 0, text: int = 0, copies: int = 0) -> None:
        """Raises StackFileError when short forms, variables or copies make the stack too large."""
        self._values += values
        self._text += text
        self._copies += copies
        what = hint = ""
        if self._values > _MOST_VALUES:
            what = "its ranges are"
            hint = "network_mode: host has all ports without publishing any"
        elif self._text > _MOST_TEXT:
            what = "what its variables hold is"
        elif self._copies > _MOST_COPIES:
            what = "what services take from others and from files of variables is, all together,"
        if what:
            raise _error(f"the stack becomes too large: {what} too long", mark, hint)

    def collect(self, error: StackFileError, mark: Mark | None = None) -> None:
        """Takes over an error that was raised below, or all of a bundle.

        `mark`: where it stands when it does not say so itself: what names the file.
        """
        if error.place is None and mark and not isinstance(error, StackFileErrors):
            error.place = Place(*mark)
        self.errors.extend(error.errors if isinstance(error, StackFileErrors) else (error,))

    def raise_any(self) -> None:
        """Raises StackFileErrors in file order when there is anything to tell."""
        if not self.errors:
            return
        files = list(dict.fromkeys(e.place.file for e in self.errors if e.place))
        unique = {(str(e), e.hint): self._with_warning(e) for e in self.errors}

        def order(error: StackFileError) -> tuple[int, int, int]:
            where = error.place
            return (files.index(where.file), where.line, where.column) if where else (-1, 0, 0)

        raise StackFileErrors(tuple(sorted(unique.values(), key=order)))

    def _with_warning(self, error: StackFileError) -> StackFileError:
        """A mistake where a warning stands too is explained by it: a variable was not set."""
        if error.hint or error.place is None:
            return error
        same = next((w for w in self.warnings if w.place == error.place), None)
        if same is not None:
            error.hint = same.brief
        return error


def _error(brief: str, mark: Mark | None, hint: str) -> StackFileError:
    if len(brief) > _LONGEST:
        brief = brief[: _LONGEST - 3] + "..."
    return StackFileError(brief, place=Place(*mark) if mark else None, hint=hint[:_LONGEST])


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """A hint that names the closest candidate, or "" when none is close."""
    if len(word) > _LONGEST_WORD:
        return ""
    import difflib  # of use for mistakes only

    candidates = [c for c in itertools.islice(candidates, 500) if len(c) <= _LONGEST_WORD]
    near = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    if not near:
        near = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
        near = near if len(word) <= 3 else []
    return f'did you mean "{near[0]}"?' if near else ""
