"""Architectures of a search space as Model Garden models."""
