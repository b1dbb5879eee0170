"""A believable streaming service made from known preferences, so that the best possible ranking is known too."""
