"""archc: a declarative compiler for neural-network architectures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archc.diagnostics import Refusal
    from archc.network import Network, load, load_all, loads

__all__ = ["Network", "Refusal", "load", "load_all", "loads"]


def __getattr__(name: str) -> Any:
    # `import archc` costs nothing; the parser is loaded with the first network.
    if name == "Refusal":
        from archc.diagnostics import Refusal

        return Refusal
    if name in __all__:
        from archc import network

        return getattr(network, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
