"""A search space of one's own: the shape of a small network. Named `own_space:search_space` in a job."""

import pyglove as pg

search_space = pg.Dict(
    hidden_units=pg.oneof([16, 32, 64]),
    hidden_layers=pg.oneof([1, 2, 3]),
    activation=pg.oneof(["relu", "tanh"]),
    learning_rate=pg.oneof([0.001, 0.003, 0.01]),
)
