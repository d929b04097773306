"""Turns proposed architectures into trained SavedModels with the TensorFlow Model Garden."""
