"""One modality per file: each reads, fits and encodes its columns and brings its encoder."""
