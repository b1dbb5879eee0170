"""From request to ranking: read, assemble, score, order, answer, log."""
