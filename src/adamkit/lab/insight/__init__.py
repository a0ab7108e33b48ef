"""What came out, in figures, words and pictures."""
