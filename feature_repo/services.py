"""The ordered features of one model family."""

from feast import FeatureService

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
from feature_repo.user_views import user_activity, user_profile, user_rhythm, user_tastes, user_totals

ranker_v1 = FeatureService(
    name="ranker_v1",
    description="Ranks items a user has been shown candidates of; label: watched long, or to the end.",
    features=[
        user_activity,
        user_totals,
        user_rhythm,
        user_tastes,
        user_profile,
        item_popularity,
        item_totals,
        item_attributes,
        item_author,
        item_genre,
        item_surfaces,
        user_item,
        request_context,
        item_freshness,
        genre_affinity,
        author_affinity,
        surface_fit,
        user_item_match,
    ],
)
