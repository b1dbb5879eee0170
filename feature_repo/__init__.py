"""The language all parts speak: entities, sources, feature views and services; `feast apply` runs here."""
