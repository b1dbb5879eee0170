"""Features of an item, as of every sixth hour."""

from datetime import timedelta

from feast import FeatureView

from feature_repo.entities import item
from feature_repo.fields import count, instant, names, number, text, weights, windowed_counts, windowed_rates
from feature_repo.sources import built

FREQUENT = {"cadence": "6h"}
KEPT = timedelta(days=1)

item_popularity = FeatureView(
    name="item_popularity",
    description="How an item did in the last 1, 3 and 7 days.",
    entities=[item],
    ttl=KEPT,
    tags=FREQUENT,
    source=built("item_popularity"),
    schema=[
        *windowed_counts("item", "the item"),
        *windowed_rates("item", "the item"),
        count("item_viewers_7d", "different users shown the item in the last 7 x 24 h"),
        number("item_watched_share_7d", "mean watched share (capped at 3) over 7 x 24 h"),
        number("item_play_seconds_7d", "mean seconds watched over 7 x 24 h"),
        count("item_hides_7d", "requests for less of this in the last 7 x 24 h"),
        count("item_profile_visits_7d", "visits to the author's page in the last 7 x 24 h"),
        count("item_social_actions_7d", "shares, comments and follows in the last 7 x 24 h"),
        number("item_trend", "exposures of the last 24 h over the daily mean of 7 x 24 h"),
    ],
)

item_totals = FeatureView(
    name="item_totals",
    description="An item's whole known past, the users' remembered histories included.",
    entities=[item],
    ttl=KEPT,
    tags=FREQUENT,
    source=built("item_totals"),
    schema=[
        count("item_exposures", "exposures in the log so far"),
        count("item_long_views", "long views in the log so far"),
        count("item_viewers", "different users in the log so far"),
        count("item_remembered_exposures", "exposures in the users' remembered histories"),
        number("item_remembered_long_view_rate", "long views per remembered exposure"),
        number("item_click_rate", "clicks per exposure, smoothed"),
        number("item_long_view_rate", "long views per exposure, remembered ones included, smoothed"),
        number("item_completion_rate", "views to the end per exposure, smoothed"),
        number("item_like_rate", "likes per exposure, remembered ones included, smoothed"),
        number("item_watched_share", "mean watched share (capped at 3)"),
        number("item_popularity_rank", "share of items with fewer exposures in the log so far"),
        instant("item_last_shown_at", "last exposure of the item"),
    ],
)

item_attributes = FeatureView(
    name="item_attributes",
    description="What the catalogue says of an item.",
    entities=[item],
    ttl=KEPT,
    tags=FREQUENT,
    source=built("item_attributes"),
    schema=[
        text("item_author_id", "author, director or channel", role="input"),
        names("item_genres", "genres or tags"),
        count("item_genre_count", "number of genres"),
        text("item_first_genre", "first genre listed"),
        text("item_language", "original language"),
        text("item_country", "first country of production"),
        count("item_cast_size", "people in the cast list"),
        number("item_duration_seconds", "length"),
        text("item_type", "film, series, short, advertisement ..."),
        text("item_upload_type", "how it came into the catalogue"),
        text("item_music_type", "kind of soundtrack"),
        number("item_width", "width in pixels"),
        number("item_height", "height in pixels"),
        number("item_aspect_ratio", "width over height"),
        text("item_maturity", "age rating"),
        instant("item_released_at", "release or upload"),
    ],
)

item_author = FeatureView(
    name="item_author",
    description="How the item's author does over all items.",
    entities=[item],
    ttl=KEPT,
    tags=FREQUENT,
    source=built("item_author"),
    schema=[
        count("author_titles", "items of the author in the catalogue"),
        count("author_exposures", "exposures of the author's items in the log so far"),
        count("author_exposures_7d", "exposures of the author's items in the last 7 x 24 h"),
        count("author_viewers", "different users shown the author's items"),
        count("author_follows", "follows of the author"),
        number("author_click_rate", "clicks per exposure of the author's items, smoothed"),
        number("author_long_view_rate", "long views per exposure of the author's items, smoothed"),
        number("author_long_view_rate_7d", "the same over the last 7 x 24 h"),
        number("author_completion_rate", "views to the end per exposure of the author's items, smoothed"),
        number("author_like_rate", "likes per exposure of the author's items, smoothed"),
    ],
)

item_genre = FeatureView(
    name="item_genre",
    description="How the item's genres do over all items.",
    entities=[item],
    ttl=KEPT,
    tags=FREQUENT,
    source=built("item_genre"),
    schema=[
        number("genre_long_view_rate", "mean over the item's genres of the genre's long views per exposure"),
        number("genre_best_long_view_rate", "the highest of them"),
        number("genre_worst_long_view_rate", "the lowest of them"),
        number("genre_click_rate", "mean over the item's genres of the genre's clicks per exposure"),
        number(
            "genre_completion_rate",
            "mean over the item's genres of the genre's views to the end per exposure",
        ),
        number("genre_like_rate", "mean over the item's genres of the genre's likes per exposure"),
        count("genre_exposures", "exposures of the item's most shown genre in the log so far"),
        count("genre_titles", "items of the item's largest genre"),
        number(
            "genre_trend", "most rising genre: exposures of the last 24 h over the daily mean of 7 x 24 h"
        ),
    ],
)

item_surfaces = FeatureView(
    name="item_surfaces",
    description="An item's counts per surface.",
    entities=[item],
    ttl=KEPT,
    tags=FREQUENT,
    source=built("item_surfaces"),
    schema=[
        count("item_surface_count", "different surfaces the item was shown on"),
        names("item_surface_names", "surfaces the item was shown on"),
        weights("item_surface_exposures", "exposures on each of item_surface_names"),
        weights("item_surface_clicks", "clicks on each of item_surface_names"),
        weights("item_surface_long_views", "long views on each of item_surface_names"),
    ],
)
