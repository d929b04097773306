"""Stories of the orchestrator, each told in one transaction: `jobs`, `trials`, `tasks`."""
