"""A run's settings, vocabulary, arrays and metrics in; a folder of plain files out, and back."""
