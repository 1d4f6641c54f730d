"""The gradient doctor: measures what makes a recurrent model hard to train, names it, and proposes a change."""
