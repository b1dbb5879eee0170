"""From exposures with outcomes to a published bundle."""
