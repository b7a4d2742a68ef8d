"""Text in: files, folders and known texts become a vocabulary, ids on disk and batches of them."""
