"""Features computed at request time. The arithmetic is in `transforms.py`; here it is declared to Feast."""

from __future__ import annotations

import pandas as pd

from feature_repo.fields import derived, text
from feature_repo.interaction_views import user_item
from feature_repo.item_views import item_attributes, item_author, item_genre, item_surfaces, item_totals
from feature_repo.request_time import at_request_time
from feature_repo.sources import request
from feature_repo.user_views import user_profile, user_rhythm, user_tastes, user_totals


@at_request_time(
    sources=[request],
    description="What the request itself says.",
    schema=[
        text("context_surface", "surface of the request"),
        text("context_device", "device of the request"),
        derived("context_hour", "hour of the request, UTC"),
        derived("context_hour_sin", "sine of the hour on a 24 h circle"),
        derived("context_hour_cos", "cosine of the hour on a 24 h circle"),
        derived("context_weekday", "day of the week, UTC, Monday 0"),
        derived("context_is_weekend", "1 on Saturday and Sunday, UTC"),
        derived("context_session_position", "exposures of this visit before the request"),
    ],
)
def request_context(inputs: pd.DataFrame) -> pd.DataFrame:
    from feature_repo.frames import apply_to_frame
    from feature_repo.transforms import request_context

    return apply_to_frame(request_context, inputs)


@at_request_time(
    sources=[request, item_attributes, item_totals, user_totals, user_profile, user_item],
    description="Ages at request time.",
    schema=[
        derived("item_age_days", "days since the item's release"),
        derived("item_idle_hours", "hours since the item was last shown to anybody"),
        derived("user_idle_hours", "hours since the user's last exposure"),
        derived("user_tenure_days", "days since the user registered"),
        derived("pair_idle_hours", "hours since the user was last shown this item"),
    ],
)
def item_freshness(inputs: pd.DataFrame) -> pd.DataFrame:
    from feature_repo.frames import apply_to_frame
    from feature_repo.transforms import item_freshness

    return apply_to_frame(item_freshness, inputs)


@at_request_time(
    sources=[item_attributes, user_tastes, user_totals],
    description="The user's record with the candidate's genres.",
    schema=[
        derived("affinity_genre_exposures", "the user's exposures to the candidate's genres", default="0"),
        derived("affinity_genre_long_views", "the user's long views of the candidate's genres", default="0"),
        derived("affinity_genre_likes", "the user's likes of the candidate's genres", default="0"),
        derived("affinity_genre_rate", "long views per exposure there, smoothed toward the user's own rate"),
        derived("affinity_genre_best_rate", "the same for the best of the candidate's genres"),
        derived("affinity_genre_worst_rate", "the same for the worst of the candidate's genres"),
        derived("affinity_genre_lift", "log odds of affinity_genre_rate over the user's own rate"),
        derived(
            "affinity_genre_share", "share of the user's genre exposures that fall on the candidate's genres"
        ),
    ],
)
def genre_affinity(inputs: pd.DataFrame) -> pd.DataFrame:
    from feature_repo.frames import apply_to_frame
    from feature_repo.transforms import genre_affinity

    return apply_to_frame(genre_affinity, inputs)


@at_request_time(
    sources=[item_attributes, user_tastes, user_totals],
    description="The user's record with the candidate's author.",
    schema=[
        derived("affinity_author_exposures", "the user's exposures to the author", default="0"),
        derived("affinity_author_long_views", "the user's long views of the author", default="0"),
        derived("affinity_author_likes", "the user's likes of the author", default="0"),
        derived("affinity_author_rate", "long views per exposure there, smoothed toward the user's own rate"),
        derived("affinity_author_lift", "log odds of affinity_author_rate over the user's own rate"),
    ],
)
def author_affinity(inputs: pd.DataFrame) -> pd.DataFrame:
    from feature_repo.frames import apply_to_frame
    from feature_repo.transforms import author_affinity

    return apply_to_frame(author_affinity, inputs)


@at_request_time(
    sources=[request, item_surfaces, item_totals, user_rhythm, user_totals],
    description="How the candidate, and the user, do on the surface of this request.",
    schema=[
        derived("surface_item_exposures", "exposures of the item on this surface", default="0"),
        derived("surface_item_click_rate", "its clicks per exposure there, smoothed toward its overall rate"),
        derived(
            "surface_item_long_view_rate",
            "its long views per exposure there, smoothed toward its overall rate",
        ),
        derived("surface_user_exposures", "exposures of the user on this surface in 7 days", default="0"),
        derived("surface_user_long_view_rate", "the user's long views per exposure there, smoothed"),
        derived("surface_user_share", "share of the user's exposures on this surface"),
        derived("surface_is_usual", "1 if this is the user's usual surface"),
    ],
)
def surface_fit(inputs: pd.DataFrame) -> pd.DataFrame:
    from feature_repo.frames import apply_to_frame
    from feature_repo.transforms import surface_fit

    return apply_to_frame(surface_fit, inputs)


@at_request_time(
    sources=[
        request,
        item_attributes,
        item_totals,
        item_genre,
        item_author,
        user_profile,
        user_rhythm,
        user_tastes,
        user_totals,
    ],
    description="Plain comparisons of the user with the candidate.",
    schema=[
        derived("match_language", "1 if the item is in the user's language"),
        derived("match_country", "1 if the item is from the user's country"),
        derived("match_device", "1 if the request comes from the user's usual device"),
        derived("match_favourite_genre", "1 if the item's first genre is the user's favourite"),
        derived("match_duration_ratio", "item's length over the mean length of what the user watched long"),
        derived("match_rate_logit", "log odds of the item's plus of the user's long-view rate"),
        derived("match_item_over_genre", "log odds of the item's over its genres' long-view rate"),
        derived("match_item_over_author", "log odds of the item's over its author's long-view rate"),
        derived("match_hour_distance", "hours between the request and the user's mean hour, 0-12"),
    ],
)
def user_item_match(inputs: pd.DataFrame) -> pd.DataFrame:
    from feature_repo.frames import apply_to_frame
    from feature_repo.transforms import user_item_match

    return apply_to_frame(user_item_match, inputs)
