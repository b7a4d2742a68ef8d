"""Books, office documents and small formats of text in; chapters, pages, cues and games out."""
