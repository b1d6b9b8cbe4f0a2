"""Pushes images in parallel, kills the server in the middle, pulls everything back and compares.

L1  A client does what real ones do: where a connection is refused or breaks it comes back, asks where its upload ends,
    and goes on from there.
L2  What was acknowledged must be there, byte for byte, whatever was killed when; any 5xx is a failure.
L3  All that is random is drawn from one seed.
"""
