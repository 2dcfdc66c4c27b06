"""The sections of `scripts/torture.py`: each tries something in full and counts."""
