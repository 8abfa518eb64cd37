"""Error rates, and the errors that people see."""
