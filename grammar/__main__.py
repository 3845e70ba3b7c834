"""`python -m archc.grammar` makes the parser's tables anew, after a change of the grammar."""

from pathlib import Path

from archc import parse

Path(parse.__file__).with_name("grammar_tables.py").write_text(parse.make_tables(), encoding="utf-8")
