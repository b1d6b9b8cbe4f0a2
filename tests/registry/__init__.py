"""The container registry of bench/registry: a real server process, over real HTTP."""
