"""Failure forensics for quantized reasoning models."""

__version__ = "0.1.0"
