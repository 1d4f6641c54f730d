"""One kind of answer per file: targets, decoder, loss, prediction, metrics, naive rival and file format."""
