"""Hostile and damaged files, each with what must become of it. Nothing here reads them."""
