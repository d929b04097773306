"""Proposes architectures, hands out the work, and turns measurements into rewards."""
