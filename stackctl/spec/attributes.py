"""What all models of a stack file are made of: marks of support, common types."""

from typing import Annotated, Any

from stackctl.spec import forms
from stackctl.spec.fields import BeforeValidator
from stackctl.values import dataclass


@dataclass(frozen=True, slots=True)
class Refused:
    """Hung on a field: whoever writes it is told that it cannot be carried out, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Approximated:
    """Hung on a field: it is accepted, with a warning that says what is different."""

    reason: str


@dataclass(frozen=True, slots=True)
class NoEffect:
    """Hung on a field that changes nothing on any engine of one machine; told once a file.

    `is_hint`: somebody wishes nothing with it, or says so elsewhere; accepted in silence.
    """

    reason: str
    is_hint: bool = False


Support = Refused | Approximated | NoEffect

#: NAME to value; None: the value comes from the caller's environment, or nothing is set.
Environment = Annotated[dict[str, str | None], forms.KEYED]


def _valueless_is_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "" if text is None else text for key, text in value.items()}
    return value


def _empty_is_absent(value: Any) -> Any:
    return None if value == "" else value


#: Hung on a field whose empty text says nothing: what a variable that is not set leaves.
MAY_BE_EMPTY = BeforeValidator(_empty_is_absent)


def nothing_is_empty(value: Any) -> Any:
    """`key:` with nothing after it, where a mapping is expected."""
    return {} if value is None else value


def empty_is_absent(value: Any) -> Any:
    """Text with nothing in it, maybe of a variable that is not set, where a word is expected."""
    return None if value == "" else value


Labels = Annotated[dict[str, str], forms.KEYED, BeforeValidator(_valueless_is_empty)]
Texts = Annotated[list[str], forms.TEXTS]
Command = Annotated[list[str], forms.COMMAND]
#: A path on the host; relative ones start at the directory of the project that wrote it.
HostPath = Annotated[str, forms.HOST_PATH]
