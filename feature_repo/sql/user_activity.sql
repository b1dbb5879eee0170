-- What each user did in the last 1, 3 and 7 days. One row per user seen within 9 days: the longest window and the
-- view's ttl, so that who falls silent gets a row of zeros before an older row could stand in.
WITH recent AS (SELECT *, within(event_timestamp, 7) AS week FROM exposures WHERE within(event_timestamp, 9)),
counted AS (
    SELECT
        user_id,
        count(*) FILTER (within(event_timestamp, 1)) AS user_exposures_1d,
        count(*) FILTER (within(event_timestamp, 1) AND click) AS user_clicks_1d,
        count(*) FILTER (within(event_timestamp, 1) AND long_view) AS user_long_views_1d,
        count(*) FILTER (within(event_timestamp, 1) AND completed) AS user_completions_1d,
        count(*) FILTER (within(event_timestamp, 1) AND "like") AS user_likes_1d,
        count(*) FILTER (within(event_timestamp, 3)) AS user_exposures_3d,
        count(*) FILTER (within(event_timestamp, 3) AND click) AS user_clicks_3d,
        count(*) FILTER (within(event_timestamp, 3) AND long_view) AS user_long_views_3d,
        count(*) FILTER (within(event_timestamp, 3) AND completed) AS user_completions_3d,
        count(*) FILTER (within(event_timestamp, 3) AND "like") AS user_likes_3d,
        count(*) FILTER (within(event_timestamp, 7)) AS user_exposures_7d,
        count(*) FILTER (within(event_timestamp, 7) AND click) AS user_clicks_7d,
        count(*) FILTER (within(event_timestamp, 7) AND long_view) AS user_long_views_7d,
        count(*) FILTER (within(event_timestamp, 7) AND completed) AS user_completions_7d,
        count(*) FILTER (within(event_timestamp, 7) AND "like") AS user_likes_7d,
        sum(play_ms) FILTER (within(event_timestamp, 1)) / 60000.0 AS user_play_minutes_1d,
        sum(play_ms) FILTER (week) / 60000.0 AS user_play_minutes_7d,
        avg(watched_share(play_ms, duration_ms)) FILTER (week) AS user_watched_share_7d,
        count(DISTINCT event_timestamp::DATE) FILTER (week) AS user_active_days_7d,
        count(DISTINCT item_id) FILTER (week) AS user_distinct_items_7d,
        count(*) FILTER (week AND NOT click) AS user_skips_7d,
        count(*) FILTER (week AND hide) AS user_hides_7d,
        count(*) FILTER (week AND (share OR "comment" OR follow)) AS user_social_actions_7d
    FROM recent
    GROUP BY user_id
)
SELECT
    counted.*,
    smoothed(user_clicks_1d, user_exposures_1d, overall.click_rate, 10) AS user_click_rate_1d,
    smoothed(user_long_views_1d, user_exposures_1d, overall.long_view_rate, 10) AS user_long_view_rate_1d,
    smoothed(user_completions_1d, user_exposures_1d, overall.completion_rate, 10) AS user_completion_rate_1d,
    smoothed(user_clicks_3d, user_exposures_3d, overall.click_rate, 10) AS user_click_rate_3d,
    smoothed(user_long_views_3d, user_exposures_3d, overall.long_view_rate, 10) AS user_long_view_rate_3d,
    smoothed(user_completions_3d, user_exposures_3d, overall.completion_rate, 10) AS user_completion_rate_3d,
    smoothed(user_clicks_7d, user_exposures_7d, overall.click_rate, 10) AS user_click_rate_7d,
    smoothed(user_long_views_7d, user_exposures_7d, overall.long_view_rate, 10) AS user_long_view_rate_7d,
    smoothed(user_completions_7d, user_exposures_7d, overall.completion_rate, 10) AS user_completion_rate_7d
FROM counted CROSS JOIN overall
ORDER BY user_id
