"""What a model learned, as plain rows: nothing is printed or drawn here."""
