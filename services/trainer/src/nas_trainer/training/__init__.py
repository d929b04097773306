"""Training, evaluation and export of one architecture, on top of the Model Garden and Orbit."""
