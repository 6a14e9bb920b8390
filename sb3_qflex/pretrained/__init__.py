"""Trained policies to take away: ``index.json`` says what each does, and its files lie beside it."""
