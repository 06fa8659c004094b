"""One round of planning: which device takes which jobs now, decided over books that every stage reads."""
