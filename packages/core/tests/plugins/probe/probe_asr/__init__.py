"""Plugin of the trainer's tests: a model in miniature, and ways to disturb a run."""
