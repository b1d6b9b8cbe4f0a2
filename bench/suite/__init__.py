"""The rounds of a run, as pytest-benchmark's: ``python -m bench`` starts it with what it is to measure."""
