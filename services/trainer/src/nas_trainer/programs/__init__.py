"""Users' own trainers: any program, as a local process or in a container, becomes a trainer of trials.

`handler.py` tells the story. `arguments.py` is what a program is given, `metric_file.py` what it
leaves behind, `process.py` and `container.py` the two ways it runs, `guard.py` what ends it when this
process is killed. Nothing here imports TensorFlow: a runner starts in a moment and holds little memory.
"""
