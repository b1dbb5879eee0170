"""What a wrong or a drifted feature does to the ranking: logged requests, scored again."""
