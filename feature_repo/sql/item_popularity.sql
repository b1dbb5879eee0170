-- How each item did in the last 1, 3 and 7 days. One row per item shown within 8 days: the longest window and the
-- view's ttl, so that what is no longer shown gets a row of zeros before an older row could stand in.
WITH recent AS (SELECT *, within(event_timestamp, 7) AS week FROM exposures WHERE within(event_timestamp, 8)),
counted AS (
    SELECT
        item_id,
        count(*) FILTER (within(event_timestamp, 1)) AS item_exposures_1d,
        count(*) FILTER (within(event_timestamp, 1) AND click) AS item_clicks_1d,
        count(*) FILTER (within(event_timestamp, 1) AND long_view) AS item_long_views_1d,
        count(*) FILTER (within(event_timestamp, 1) AND completed) AS item_completions_1d,
        count(*) FILTER (within(event_timestamp, 1) AND "like") AS item_likes_1d,
        count(*) FILTER (within(event_timestamp, 3)) AS item_exposures_3d,
        count(*) FILTER (within(event_timestamp, 3) AND click) AS item_clicks_3d,
        count(*) FILTER (within(event_timestamp, 3) AND long_view) AS item_long_views_3d,
        count(*) FILTER (within(event_timestamp, 3) AND completed) AS item_completions_3d,
        count(*) FILTER (within(event_timestamp, 3) AND "like") AS item_likes_3d,
        count(*) FILTER (within(event_timestamp, 7)) AS item_exposures_7d,
        count(*) FILTER (within(event_timestamp, 7) AND click) AS item_clicks_7d,
        count(*) FILTER (within(event_timestamp, 7) AND long_view) AS item_long_views_7d,
        count(*) FILTER (within(event_timestamp, 7) AND completed) AS item_completions_7d,
        count(*) FILTER (within(event_timestamp, 7) AND "like") AS item_likes_7d,
        count(DISTINCT user_id) FILTER (week) AS item_viewers_7d,
        avg(watched_share(play_ms, duration_ms)) FILTER (week) AS item_watched_share_7d,
        avg(play_ms) FILTER (week) / 1000.0 AS item_play_seconds_7d,
        count(*) FILTER (week AND hide) AS item_hides_7d,
        count(*) FILTER (week AND profile_visit) AS item_profile_visits_7d,
        count(*) FILTER (week AND (share OR "comment" OR follow)) AS item_social_actions_7d
    FROM recent
    GROUP BY item_id
)
SELECT
    counted.*,
    smoothed(item_clicks_1d, item_exposures_1d, overall.click_rate, 20) AS item_click_rate_1d,
    smoothed(item_long_views_1d, item_exposures_1d, overall.long_view_rate, 20) AS item_long_view_rate_1d,
    smoothed(item_completions_1d, item_exposures_1d, overall.completion_rate, 20) AS item_completion_rate_1d,
    smoothed(item_clicks_3d, item_exposures_3d, overall.click_rate, 20) AS item_click_rate_3d,
    smoothed(item_long_views_3d, item_exposures_3d, overall.long_view_rate, 20) AS item_long_view_rate_3d,
    smoothed(item_completions_3d, item_exposures_3d, overall.completion_rate, 20) AS item_completion_rate_3d,
    smoothed(item_clicks_7d, item_exposures_7d, overall.click_rate, 20) AS item_click_rate_7d,
    smoothed(item_long_views_7d, item_exposures_7d, overall.long_view_rate, 20) AS item_long_view_rate_7d,
    smoothed(item_completions_7d, item_exposures_7d, overall.completion_rate, 20) AS item_completion_rate_7d,
    item_exposures_1d / nullif(item_exposures_7d / 7.0, 0) AS item_trend
FROM counted CROSS JOIN overall
ORDER BY item_id
