"""A believable streaming service made from known preferences: so the best possible ranking is known too."""
