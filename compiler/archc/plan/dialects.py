"""Counting dialects: the number that another tool reports for the generated PyTorch, worked out without the tool.

Published "FLOPs" and "MACs" are those of five tools, each with rules, gaps and faults of its own; they
are reproduced to the last digit, for one example in evaluation. The tool's own release and PyTorch's
matter: those of `tests/dialects/dialects.json` were compared.
"""

from __future__ import annotations

from collections.abc import Mapping

from archc.ir import Graph
from archc.plan import dialect_deepspeed, dialect_fvcore, dialect_ptflops, dialect_thop, dialect_torchinfo
from archc.plan.dialect_tally import Counted, Dialect, Rule, counted

__all__ = ["DIALECTS", "Counted", "Dialect", "count"]

_TOOLS = (dialect_torchinfo, dialect_fvcore, dialect_ptflops, dialect_thop, dialect_deepspeed)

DIALECTS: Mapping[str, Dialect] = {tool.DIALECT.name: tool.DIALECT for tool in _TOOLS}
"""The tools, by the name that `--dialect` takes."""

_RULES: Mapping[str, Rule] = {tool.DIALECT.name: tool.tally for tool in _TOOLS}


def count(graph: Graph, dialect: str) -> Counted:
    """What a tool reports for a network; raises KeyError for a tool that is not in DIALECTS."""
    return counted(DIALECTS[dialect], _RULES[dialect], graph)
