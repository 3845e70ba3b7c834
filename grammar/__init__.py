"""The language: its grammar and its reference."""
