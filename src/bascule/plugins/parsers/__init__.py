"""Parsers: the file's name is the kind of document, its module-level `parser` the port. Run in a child process only.

Kinds of text (txt, md, html, csv) get UTF-8: `rag.decode` has read the file's own encoding before.
"""
