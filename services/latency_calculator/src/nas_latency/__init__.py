"""Measures a SavedModel on the device it is meant for."""
