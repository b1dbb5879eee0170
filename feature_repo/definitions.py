"""The one file `feast apply` scans: every object is imported here once; the others stand in `.feastignore`."""

from feature_repo.entities import item, user
from feature_repo.interaction_views import user_item
from feature_repo.item_views import (
    item_attributes,
    item_author,
    item_genre,
    item_popularity,
    item_surfaces,
    item_totals,
)
from feature_repo.request_views import (
    author_affinity,
    genre_affinity,
    item_freshness,
    request_context,
    surface_fit,
    user_item_match,
)
from feature_repo.services import ranker_v1
from feature_repo.user_views import user_activity, user_profile, user_rhythm, user_tastes, user_totals

__all__ = [
    "author_affinity",
    "genre_affinity",
    "item",
    "item_attributes",
    "item_author",
    "item_freshness",
    "item_genre",
    "item_popularity",
    "item_surfaces",
    "item_totals",
    "ranker_v1",
    "request_context",
    "surface_fit",
    "user",
    "user_activity",
    "user_item",
    "user_item_match",
    "user_profile",
    "user_rhythm",
    "user_tastes",
    "user_totals",
]
