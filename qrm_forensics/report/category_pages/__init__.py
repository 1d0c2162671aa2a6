"""A page for every subject, level, topic and outcome of a benchmark: its numbers, and the cases that tell most."""
