"""A container registry over HTTP, by the OCI Distribution Specification 1.1, whose metadata are in onewriter.

It is a service as somebody would write one on the library: threads, several processes, uploads in parallel, kills.
`python -m bench.registry` starts it, `python -m bench.registry.load` pushes to it. docs/registry.md is its page.
"""
