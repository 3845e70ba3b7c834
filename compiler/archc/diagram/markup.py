"""Text made safe for DOT: whatever a name holds, it is drawn and never obeyed."""

from __future__ import annotations

LONGEST = 48
"""Characters of a name that are drawn; tooltips show more."""


def clean(text: str, longest: int = LONGEST) -> str:
    """Printable characters only, one line, no longer than this."""
    plain = "".join(char if char.isprintable() else " " if char.isspace() else "\ufffd" for char in text)
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def quoted(text: str) -> str:
    """A DOT string: quotes and backslashes escaped, and `&`, since Graphviz reads entities in strings too.

    A line feed becomes the escape that DOT has for it.
    """
    escaped = text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def html(text: str) -> str:
    """Text inside an HTML-like label."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def attributes(**values: str) -> str:
    """`[a="1", b="2"]`, in the order given; a value that is an HTML-like label comes as `<…>`."""
    return "[" + ", ".join(f"{name}={value}" for name, value in values.items()) + "]"
