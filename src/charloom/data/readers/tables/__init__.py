"""Tables in; the text in their columns, a document a row, out."""
