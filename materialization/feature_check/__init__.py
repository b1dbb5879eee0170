"""What is wrong with the declarations, found before anything runs."""
