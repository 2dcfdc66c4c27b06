"""ALLD tells leukaemic blasts from healthy cells on microscope images. Research use only."""

__version__ = "0.1.0"
