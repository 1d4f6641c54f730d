"""One recurrence per file: its equations, their source, its weights and its initial state."""
