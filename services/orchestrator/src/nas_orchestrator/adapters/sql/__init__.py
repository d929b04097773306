"""The store: jobs, trials, tasks and outbox in a relational database."""
