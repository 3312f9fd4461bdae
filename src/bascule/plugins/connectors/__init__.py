"""Connectors: where documents come from. The file's name is the kind."""
