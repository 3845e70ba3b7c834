"""Names: which are refused, and how nodes are named where their author gave none."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass, field

OWNED = frozenset(
    """
    T_destination add_module append apply bfloat16 buffers call_super_init children clear compile cpu cuda double
    dump_patches eval extend extra_repr float forward get_buffer get_extra_state get_parameter get_submodule
    half insert ipu items keys load_state_dict modules mtia named_buffers named_children named_modules named_parameters
    parameters pop predict register_backward_hook register_buffer register_forward_hook
    register_forward_pre_hook register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module
    register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
    set_extra_state set_submodule share_memory state_dict to to_empty train training type update values xpu zero_grad
    """.split()
)
"""What PyTorch's modules and containers call their own (and `predict`, ours): a layer of that name would hide it."""

TAKEN = frozenset({"in", "x", "input", "output", "self"})
"""Words that mean something else in the language, in the emitted source or in the ONNX graph."""


def refusal(label: str) -> str:
    """Why a label cannot be a name, or nothing."""
    if label in OWNED:
        return f"`{label}` is a name that every PyTorch module has of its own"
    if label in TAKEN or keyword.iskeyword(label):
        return f"`{label}` is a word with a meaning of its own"
    if label.startswith("_"):
        return "names that begin with `_` belong to PyTorch"
    if not re.fullmatch(r"[\w-]+", label):
        return "a name is letters, digits, `_` and `-`"
    if len(label) > 255:
        return "a label has at most 255 characters"
    return ""


@dataclass
class Frame:
    """A place where names are given: `numbered` as `nn.Sequential` does, or counted by kind."""

    path: str
    numbered: bool
    counts: dict[str, int] = field(default_factory=dict)

    def next(self, stem: str, label: str = "") -> str:
        """The full name of the next member; a label does not stop the count."""
        key = "" if self.numbered else stem
        count = self.counts.get(key, 0)
        self.counts[key] = count + 1
        # `b1` and its second instance would be `b12`, as the twelfth of `b`.
        apart = "_" if stem[-1:].isdigit() else ""
        name = label or (str(count) if self.numbered else f"{stem}{apart}{count + 1}")
        return f"{self.path}.{name}" if self.path else name

    def named(self, label: str) -> str:
        """The full name of a labelled group; in a numbered frame it takes a number all the same."""
        if self.numbered:
            self.counts[""] = self.counts.get("", 0) + 1
        return f"{self.path}.{label}" if self.path else label
