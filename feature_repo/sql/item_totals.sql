-- Each item's whole known past, the users' remembered histories included. One row per item met at least once.
WITH logged AS (
    SELECT
        item_id,
        count(*) AS exposures,
        count(*) FILTER (click) AS clicks,
        count(*) FILTER (long_view) AS long_views,
        count(*) FILTER (completed) AS completions,
        count(*) FILTER ("like") AS likes,
        count(DISTINCT user_id) AS viewers,
        avg(watched_share(play_ms, duration_ms)) AS watched_share,
        max(event_timestamp) AS last_shown
    FROM exposures
    GROUP BY item_id
),
remembered_counts AS (
    SELECT item_id, count(*) AS exposures, count(*) FILTER (long_view) AS long_views, count(*) FILTER ("like") AS likes
    FROM remembered
    GROUP BY item_id
)
SELECT
    item_id,
    coalesce(logged.exposures, 0) AS item_exposures,
    coalesce(logged.long_views, 0) AS item_long_views,
    coalesce(viewers, 0) AS item_viewers,
    coalesce(remembered_counts.exposures, 0) AS item_remembered_exposures,
    rate(remembered_counts.long_views, remembered_counts.exposures) AS item_remembered_long_view_rate,
    smoothed(logged.clicks, logged.exposures, overall.click_rate, 20) AS item_click_rate,
    smoothed(
        coalesce(logged.long_views, 0) + coalesce(remembered_counts.long_views, 0),
        coalesce(logged.exposures, 0) + coalesce(remembered_counts.exposures, 0),
        overall.long_view_rate,
        20
    ) AS item_long_view_rate,
    smoothed(logged.completions, logged.exposures, overall.completion_rate, 20) AS item_completion_rate,
    smoothed(
        coalesce(logged.likes, 0) + coalesce(remembered_counts.likes, 0),
        coalesce(logged.exposures, 0) + coalesce(remembered_counts.exposures, 0),
        overall.like_rate,
        50
    ) AS item_like_rate,
    watched_share AS item_watched_share,
    epoch(last_shown) AS item_last_shown_at,
    percent_rank() OVER (ORDER BY coalesce(logged.exposures, 0)) AS item_popularity_rank
FROM logged
FULL JOIN remembered_counts USING (item_id)
CROSS JOIN overall
ORDER BY item_id
