"""Runs over many machines, on an existing engine."""
