-- How each item's author does over all items. One row per item with a known author.
WITH catalogue AS (SELECT author_id, count(*) AS titles FROM current_items WHERE author_id IS NOT NULL GROUP BY author_id),
met AS (
    SELECT author_id, event_timestamp, user_id, click, long_view, completed, "like", follow
    FROM exposures
    JOIN current_items USING (item_id)
    WHERE author_id IS NOT NULL
),
authors AS (
    SELECT
        author_id,
        count(*) AS exposures,
        count(*) FILTER (within(event_timestamp, 7)) AS exposures_7d,
        count(*) FILTER (click) AS clicks,
        count(*) FILTER (long_view) AS long_views,
        count(*) FILTER (long_view AND within(event_timestamp, 7)) AS long_views_7d,
        count(*) FILTER (completed) AS completions,
        count(*) FILTER ("like") AS likes,
        count(*) FILTER (follow) AS follows,
        count(DISTINCT user_id) AS viewers
    FROM met
    GROUP BY author_id
)
SELECT
    item_id,
    titles AS author_titles,
    coalesce(exposures, 0) AS author_exposures,
    coalesce(exposures_7d, 0) AS author_exposures_7d,
    coalesce(viewers, 0) AS author_viewers,
    coalesce(follows, 0) AS author_follows,
    smoothed(clicks, exposures, overall.click_rate, 20) AS author_click_rate,
    smoothed(long_views, exposures, overall.long_view_rate, 20) AS author_long_view_rate,
    smoothed(long_views_7d, exposures_7d, overall.long_view_rate, 20) AS author_long_view_rate_7d,
    smoothed(completions, exposures, overall.completion_rate, 20) AS author_completion_rate,
    smoothed(likes, exposures, overall.like_rate, 50) AS author_like_rate
FROM current_items
JOIN catalogue USING (author_id)
LEFT JOIN authors USING (author_id)
CROSS JOIN overall
ORDER BY item_id
