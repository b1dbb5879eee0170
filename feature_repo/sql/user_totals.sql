-- Each user's whole known past: the log so far and what the history before it remembers. One row per user.
WITH logged AS (
    SELECT
        user_id,
        count(*) AS exposures,
        count(*) FILTER (click) AS clicks,
        count(*) FILTER (long_view) AS long_views,
        count(*) FILTER (completed) AS completions,
        count(*) FILTER ("like") AS likes,
        count(*) FILTER (follow) AS follows,
        max(event_timestamp) AS last_seen,
        avg(duration_ms) FILTER (long_view) / 1000.0 AS long_view_duration_seconds
    FROM exposures
    GROUP BY user_id
),
remembered_counts AS (
    SELECT user_id, count(*) AS exposures, count(*) FILTER (long_view) AS long_views, count(*) FILTER ("like") AS likes
    FROM remembered
    GROUP BY user_id
)
SELECT
    user_id,
    coalesce(logged.exposures, 0) AS user_exposures,
    coalesce(logged.long_views, 0) AS user_long_views,
    coalesce(logged.follows, 0) AS user_follows,
    coalesce(history_length, 0) AS user_history_length,
    coalesce(remembered_counts.exposures, 0) AS user_remembered_exposures,
    coalesce(len(liked_item_ids), 0) AS user_remembered_likes,
    rate(remembered_counts.long_views, remembered_counts.exposures) AS user_remembered_long_view_rate,
    smoothed(logged.clicks, logged.exposures, overall.click_rate, 10) AS user_click_rate,
    smoothed(
        coalesce(logged.long_views, 0) + coalesce(remembered_counts.long_views, 0),
        coalesce(logged.exposures, 0) + coalesce(remembered_counts.exposures, 0),
        overall.long_view_rate,
        5
    ) AS user_long_view_rate,
    smoothed(logged.completions, logged.exposures, overall.completion_rate, 10) AS user_completion_rate,
    smoothed(
        coalesce(logged.likes, 0) + coalesce(remembered_counts.likes, 0),
        coalesce(logged.exposures, 0) + coalesce(remembered_counts.exposures, 0),
        overall.like_rate,
        20
    ) AS user_like_rate,
    epoch(greatest(logged.last_seen, current_histories.created_timestamp)) AS user_last_seen_at,
    logged.long_view_duration_seconds AS user_long_view_duration_seconds
FROM logged
FULL JOIN current_histories USING (user_id)
LEFT JOIN remembered_counts USING (user_id)
CROSS JOIN overall
ORDER BY user_id
