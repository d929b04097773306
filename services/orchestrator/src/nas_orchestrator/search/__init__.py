"""Algorithms that propose architectures, behind one small interface: `algorithm.Algorithm`."""
