"""The report of a search: a page and its pictures."""
