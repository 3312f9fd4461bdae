"""Fetchers: how a URL from outside is got. The file's name is the kind."""
