-- What a user did with an item before, over 7 days. One row per pair met within 7 days.
SELECT
    user_id,
    item_id,
    count(*) AS pair_exposures,
    count(*) FILTER (click) AS pair_clicks,
    count(*) FILTER (long_view) AS pair_long_views,
    count(*) FILTER (NOT click) AS pair_skips,
    max(watched_share(play_ms, duration_ms)) AS pair_best_watched_share,
    arg_max_null(watched_share(play_ms, duration_ms), (event_timestamp, exposure_id)) AS pair_last_watched_share,
    epoch(max(event_timestamp)) AS pair_last_seen_at
FROM exposures
WHERE within(event_timestamp, 7)
GROUP BY user_id, item_id
ORDER BY user_id, item_id
