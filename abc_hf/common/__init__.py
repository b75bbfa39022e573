"""Helpers for all other folders; imports no torch."""
