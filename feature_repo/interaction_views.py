"""Features of a user with an item, as of each midnight UTC."""

from datetime import timedelta

from feast import FeatureView

from feature_repo.entities import item, user
from feature_repo.fields import count, instant, number
from feature_repo.sources import built

user_item = FeatureView(
    name="user_item",
    description="What a user did with an item in the last 7 days.",
    entities=[user, item],
    ttl=timedelta(days=2),
    tags={"cadence": "24h"},
    source=built("user_item"),
    schema=[
        count("pair_exposures", "times the item was shown to the user"),
        count("pair_clicks", "times the user clicked it"),
        count("pair_long_views", "times the user watched it long"),
        count("pair_skips", "times the user did not click it"),
        number("pair_best_watched_share", "largest watched share (capped at 3)"),
        number("pair_last_watched_share", "watched share of the last exposure (capped at 3)"),
        instant("pair_last_seen_at", "last exposure of the pair"),
    ],
)
