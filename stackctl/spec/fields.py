"""What the models of a stack file are declared with: fields, checks of values, their base.

The words are pydantic's and mean the same; what they say of values is carried out by pydantic's
compiled core (see stackctl.spec.core), how they are written by stackctl.spec.plain. The package
around that core works out the same from every class while it is imported, which took longer than
most stack files take to read (ADR 0039).

Annotations are objects here, not text: the modules of the models have no
`from __future__ import annotations`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    from pydantic_core import SchemaValidator

_ABSENT: Any = object()


class BeforeValidator:
    """Hung on a type: `func` makes of what was written what the type takes; ValueError refuses."""

    def __init__(self, func: Callable[[Any], Any]) -> None:
        self.func = func


class AfterValidator:
    """Hung on a type: `func` takes a value of it and gives the final one; ValueError refuses."""

    def __init__(self, func: Callable[[Any], Any]) -> None:
        self.func = func


class PlainSerializer:
    """Hung on a type: `func` gives what is written of a value."""

    def __init__(self, func: Callable[[Any], Any]) -> None:
        self.func = func


class FieldInfo:
    """One field of a model; or, hung on a type, limits of its values."""

    __slots__ = ("annotation", "default", "default_factory", "description", "limits", "metadata")

    def __init__(
        self,
        default: Any,
        default_factory: Callable[[], Any] | None,
        description: str,
        limits: dict[str, Any],
    ) -> None:
        self.default = default
        self.default_factory = default_factory
        self.description = description
        #: `min_length`, `pattern`, `ge`, `le`, as the core calls them.
        self.limits = limits
        self.annotation: Any = None
        #: What hangs on the annotation.
        self.metadata: tuple[Any, ...] = ()

    @property
    def is_required(self) -> bool:
        """Whether a model cannot do without it."""
        return self.default is _ABSENT and self.default_factory is None

    def declared_as(self, annotation: Any) -> None:
        """Takes the annotation apart into the type and what hangs on it."""
        if metadata := getattr(annotation, "__metadata__", None):
            self.annotation, self.metadata = annotation.__origin__, metadata
        else:
            self.annotation = annotation


def Field(
    default: Any = _ABSENT,
    *,
    default_factory: Callable[[], Any] | None = None,
    description: str = "",
    **limits: Any,
) -> Any:
    """A field of a model: what it is when nobody says, what it says, limits of its values."""
    return FieldInfo(default, default_factory, description, limits)


class Attributes:
    """Base of all models: made by validation only, immutable; `x-` keys are kept besides."""

    # What the core puts into an instance, under the names that it uses.
    __slots__ = (
        "__dict__",
        "__pydantic_extra__",
        "__pydantic_fields_set__",
        "__pydantic_private__",
    )

    if TYPE_CHECKING:
        __pydantic_extra__: dict[str, Any] | None
        __pydantic_fields_set__: set[str]

    #: The fields of the class and of its bases, in the order of their declaration.
    model_fields: ClassVar[dict[str, FieldInfo]] = {}
    _validator: ClassVar[SchemaValidator | None] = None

    def __init_subclass__(cls) -> None:
        cls.model_fields = dict(cls.model_fields)
        cls._validator = None
        for name, annotation in cls.__annotations__.items():
            info = cls.__dict__.get(name)
            if not isinstance(info, FieldInfo):
                raise TypeError(f"{cls.__name__}.{name} is no field")
            info.declared_as(annotation)
            cls.model_fields[name] = info
            delattr(cls, name)

    @classmethod
    def model_validate(cls, values: Any) -> Self:
        """The model of plain values. Raises pydantic_core.ValidationError with all mistakes."""
        validator = cls._validator
        if validator is None:
            from stackctl.spec.core import validator_of

            validator = cls._validator = validator_of(cls)
        made: Self = validator.validate_python(values)
        return made

    def model_copy(self, *, update: dict[str, Any]) -> Self:
        """The same with other values, which are not validated, in some of its fields."""
        made = object.__new__(type(self))
        put = object.__setattr__
        put(made, "__dict__", {**self.__dict__, **update})
        put(made, "__pydantic_extra__", self.__pydantic_extra__)
        put(made, "__pydantic_fields_set__", self.__pydantic_fields_set__ | update.keys())
        put(made, "__pydantic_private__", None)
        return made

    @property
    def model_fields_set(self) -> set[str]:
        """The fields that somebody gave a value."""
        return self.__pydantic_fields_set__

    @property
    def model_extra(self) -> dict[str, Any]:
        """What was said besides the fields."""
        return self.__pydantic_extra__ or {}

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} stays")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} stays")

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self.__dict__ == other.__dict__ and self.model_extra == other.model_extra

    def __hash__(self) -> int:
        """Of one without mappings and lists; of another one TypeError, as of a tuple."""
        return hash((type(self), *self.__dict__.values()))

    def __repr__(self) -> str:
        values = {**self.__dict__, **self.model_extra}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in values.items())})"
