"""Values that are declared by their fields: what a frozen dataclass gives, without its start-up cost.

`dataclass` writes and compiles five methods for every class each time a program starts. The layers
are many and a check takes milliseconds, so theirs are written once, here.
"""

from __future__ import annotations

from dataclasses import MISSING
from typing import Any, ClassVar


class Field:
    """One argument: its default, if any, and what may be written for it."""

    __slots__ = ("default", "metadata", "name")

    def __init__(self, default: Any, metadata: dict[str, Any]) -> None:
        self.name = ""
        self.default = default
        self.metadata = metadata


class Declared:
    """A frozen value whose class body names its fields; equal if of one class with equal fields."""

    __slots__ = ("__dict__", "_hash")

    declared: ClassVar[dict[str, Field]] = {}
    """The fields, those of the base classes first."""
    _hash: int

    def __init_subclass__(cls) -> None:
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Field)}
        if not own:
            return
        for name, entry in own.items():
            entry.name = name
            delattr(cls, name)
        cls.declared = cls.declared | own

    def __init__(self, *given: Any, **named: Any) -> None:
        declared = self.declared
        values = dict(zip(declared, given, strict=False))
        if len(given) > len(declared) or values.keys() & named or named.keys() - declared:
            raise TypeError(f"{type(self).__name__} takes {', '.join(declared) or 'nothing'}, each at most once")
        values.update(named)
        for name, entry in declared.items():
            if name not in values:
                if entry.default is MISSING:
                    raise TypeError(f"{type(self).__name__} needs {name}")
                values[name] = entry.default
        self.__dict__.update((name, values[name]) for name in declared)
        # Layers are looked up far more often than they are made.
        object.__setattr__(self, "_hash", hash((type(self), *self.__dict__.values())))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return self._hash

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({fields})"
