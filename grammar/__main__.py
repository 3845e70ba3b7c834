"""`python -m archc.grammar` makes the parser's tables anew, after a change of the grammar."""

from pathlib import Path

from archc import grammar_tables, parse

if parse.fingerprint(parse.read_grammar()) == grammar_tables.MADE_FROM:
    print("the tables are those of the grammar already")
else:
    Path(grammar_tables.__file__).write_text(parse.make_tables(), encoding="utf-8")
    print(f"wrote {grammar_tables.__file__}")
