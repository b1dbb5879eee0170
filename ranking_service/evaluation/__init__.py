"""How good is a ranking: metrics, baselines, intervals."""
