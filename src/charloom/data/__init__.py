"""Text in: files of any kind become a vocabulary, ids on disk and batches of them."""
