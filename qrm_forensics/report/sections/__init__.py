"""Sections of a report, one module per subject; :mod:`.build` lists them in the order of reading."""
