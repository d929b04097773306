"""Training data: TFRecord files, checked before a trial trains on them and made from images.

Nothing here imports TensorFlow at module import, so that a wrong file is found before the
seconds that TensorFlow takes to start.
"""
