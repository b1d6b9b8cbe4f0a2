"""Measurements, always beside another way in the same run."""
