"""The sections of the report, one per file: each says what it knows of a run, or what is missing."""
