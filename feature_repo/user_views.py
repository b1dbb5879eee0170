"""Features of a user, as of each midnight UTC."""

from datetime import timedelta

from feast import FeatureView

from feature_repo.entities import user
from feature_repo.fields import (
    count,
    instant,
    names,
    number,
    text,
    weights,
    windowed_counts,
    windowed_rates,
)
from feature_repo.sources import built

DAILY = {"cadence": "24h"}
KEPT = timedelta(days=2)

user_activity = FeatureView(
    name="user_activity",
    description="What a user did in the last 1, 3 and 7 days.",
    entities=[user],
    ttl=KEPT,
    tags=DAILY,
    source=built("user_activity"),
    schema=[
        *windowed_counts("user", "the user"),
        *windowed_rates("user", "the user"),
        count("user_play_minutes_1d", "minutes watched in the last 24 h"),
        count("user_play_minutes_7d", "minutes watched in the last 7 x 24 h"),
        number("user_watched_share_7d", "mean watched share (capped at 3) over 7 x 24 h"),
        count("user_active_days_7d", "days (UTC) with an exposure in the last 7 x 24 h"),
        count("user_distinct_items_7d", "different items shown in the last 7 x 24 h"),
        count("user_skips_7d", "exposures without click in the last 7 x 24 h"),
        count("user_hides_7d", "requests for less of this in the last 7 x 24 h"),
        count("user_social_actions_7d", "shares, comments and follows in the last 7 x 24 h"),
    ],
)

user_totals = FeatureView(
    name="user_totals",
    description="A user's whole known past, the history before the log included.",
    entities=[user],
    ttl=KEPT,
    tags=DAILY,
    source=built("user_totals"),
    schema=[
        count("user_exposures", "exposures in the log so far"),
        count("user_long_views", "long views in the log so far"),
        count("user_follows", "follows in the log so far"),
        count("user_history_length", "exposures before the log starts"),
        count(
            "user_remembered_exposures", "exposures before the log whose items are remembered (at most 50)"
        ),
        count("user_remembered_likes", "likes before the log whose items are remembered (at most 50)"),
        number("user_remembered_long_view_rate", "long views per remembered exposure"),
        number("user_click_rate", "clicks per exposure, smoothed"),
        number("user_long_view_rate", "long views per exposure, remembered ones included, smoothed"),
        number("user_completion_rate", "views to the end per exposure, smoothed"),
        number("user_like_rate", "likes per exposure, remembered ones included, smoothed"),
        number("user_long_view_duration_seconds", "mean length of what the user watched long"),
        instant("user_last_seen_at", "last exposure"),
    ],
)

user_rhythm = FeatureView(
    name="user_rhythm",
    description="When and where a user comes, over 7 days, hours in UTC.",
    entities=[user],
    ttl=KEPT,
    tags=DAILY,
    source=built("user_rhythm"),
    schema=[
        number("user_night_share", "share of exposures at 0-6 h"),
        number("user_morning_share", "share of exposures at 6-12 h"),
        number("user_afternoon_share", "share of exposures at 12-18 h"),
        number("user_evening_share", "share of exposures at 18-24 h"),
        number("user_weekend_share", "share of exposures on Saturday and Sunday"),
        text("user_recent_device", "most used device"),
        number("user_session_length", "exposures per visit"),
        number("user_mean_hour", "circular mean hour of exposures, 0-24"),
        text("user_usual_surface", "surface with the most exposures"),
        number("user_usual_surface_share", "share of exposures on that surface"),
        names("user_surface_names", "surfaces the user was on"),
        weights("user_surface_exposures", "exposures on each of user_surface_names"),
        weights("user_surface_long_views", "long views on each of user_surface_names"),
    ],
)

user_tastes = FeatureView(
    name="user_tastes",
    description="A user's counts per genre and per author, remembered history and log together.",
    entities=[user],
    ttl=KEPT,
    tags=DAILY,
    source=built("user_tastes"),
    schema=[
        count("user_genre_count", "different genres met"),
        text("user_favourite_genre", "genre with the most long views"),
        names("user_genre_names", "genres met"),
        weights("user_genre_exposures", "exposures to each of user_genre_names"),
        weights("user_genre_long_views", "long views of each of user_genre_names"),
        weights("user_genre_likes", "likes of each of user_genre_names"),
        count("user_author_count", "different authors met, at most 100"),
        names("user_author_ids", "the authors met most, at most 100"),
        weights("user_author_exposures", "exposures to each of user_author_ids"),
        weights("user_author_long_views", "long views of each of user_author_ids"),
        weights("user_author_likes", "likes of each of user_author_ids"),
    ],
)

user_profile = FeatureView(
    name="user_profile",
    description="What a user told or is known for.",
    entities=[user],
    ttl=KEPT,
    tags=DAILY,
    source=built("user_profile"),
    schema=[
        text("user_country", "ISO 3166 code"),
        text("user_language", "preferred language"),
        text("user_device", "usual device, as told"),
        text("user_activity_degree", "the source's activity class"),
        number("user_is_low_active", "1 in a low-activity period"),
        number("user_is_streamer", "1 if the user streams live"),
        number("user_is_author", "1 if the user has uploaded"),
        number("user_follow_count", "accounts followed"),
        number("user_fan_count", "followers"),
        number("user_friend_count", "mutual follows"),
        *(number(f"user_category_{index}", f"anonymised category {index}") for index in range(18)),
        instant("user_signed_up_at", "registration"),
    ],
)
