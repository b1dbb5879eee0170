"""The views of `ranker_v1`, as right answers name them."""

ITEM_VIEWS = (
    "item_popularity",
    "item_totals",
    "item_attributes",
    "item_author",
    "item_genre",
    "item_surfaces",
)
USER_VIEWS = ("user_activity", "user_totals", "user_rhythm", "user_tastes", "user_profile")
REQUEST_VIEWS = (
    "request_context",
    "item_freshness",
    "genre_affinity",
    "author_affinity",
    "surface_fit",
    "user_item_match",
)
EVERY_VIEW = (*ITEM_VIEWS, *USER_VIEWS, "user_item", *REQUEST_VIEWS)
