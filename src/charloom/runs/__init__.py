"""A run's settings, vocabulary and arrays in; a folder of plain files out, and back again."""
