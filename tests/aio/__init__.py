"""Tests of `onewriter.aio`."""
