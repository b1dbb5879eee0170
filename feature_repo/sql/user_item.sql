-- What a user did with an item before, over 7 days. One row per pair met within 9 days: the window and the view's ttl,
-- so that a pair that leaves the window gets a row of zeros before an older row could stand in.
SELECT
    user_id,
    item_id,
    count(*) FILTER (week) AS pair_exposures,
    count(*) FILTER (week AND click) AS pair_clicks,
    count(*) FILTER (week AND long_view) AS pair_long_views,
    count(*) FILTER (week AND NOT click) AS pair_skips,
    max(watched_share(play_ms, duration_ms)) FILTER (week) AS pair_best_watched_share,
    arg_max_null(watched_share(play_ms, duration_ms), (event_timestamp, exposure_id)) FILTER (week)
        AS pair_last_watched_share,
    epoch(max(event_timestamp) FILTER (week)) AS pair_last_seen_at
FROM (SELECT *, within(event_timestamp, 7) AS week FROM exposures WHERE within(event_timestamp, 9))
GROUP BY user_id, item_id
ORDER BY user_id, item_id
