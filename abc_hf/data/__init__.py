"""Data sets in the SmartBlur schema."""
