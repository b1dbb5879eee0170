-- How each item's genres do over all items: mean, best and worst over the item's genres. One row per item with a genre.
WITH met AS (
    SELECT genre, count(*) AS exposures, count(*) FILTER (click) AS clicks, count(*) FILTER (long_view) AS long_views,
        count(*) FILTER (completed) AS completions, count(*) FILTER ("like") AS likes,
        count(*) FILTER (within(event_timestamp, 1)) AS exposures_1d,
        count(*) FILTER (within(event_timestamp, 7)) AS exposures_7d
    FROM (SELECT item_id, unnest(genres) AS genre FROM current_items)
    JOIN exposures USING (item_id)
    GROUP BY genre
),
listed AS (SELECT item_id, unnest(genres) AS genre FROM current_items),
sizes AS (SELECT genre, count(*) AS titles FROM listed GROUP BY genre),
per_genre AS (
    SELECT
        genre,
        titles,
        coalesce(exposures, 0) AS exposures,
        rate(exposures_1d, exposures_7d) * 7 AS trend,
        smoothed(clicks, exposures, overall.click_rate, 50) AS click_rate,
        smoothed(long_views, exposures, overall.long_view_rate, 50) AS long_view_rate,
        smoothed(completions, exposures, overall.completion_rate, 50) AS completion_rate,
        smoothed(likes, exposures, overall.like_rate, 100) AS like_rate
    FROM sizes
    LEFT JOIN met USING (genre)
    CROSS JOIN overall
)
SELECT
    item_id,
    avg(long_view_rate ORDER BY genre) AS genre_long_view_rate,
    max(long_view_rate) AS genre_best_long_view_rate,
    min(long_view_rate) AS genre_worst_long_view_rate,
    avg(click_rate ORDER BY genre) AS genre_click_rate,
    avg(completion_rate ORDER BY genre) AS genre_completion_rate,
    avg(like_rate ORDER BY genre) AS genre_like_rate,
    max(exposures) AS genre_exposures,
    max(titles) AS genre_titles,
    max(trend) AS genre_trend
FROM listed
JOIN per_genre USING (genre)
GROUP BY item_id
ORDER BY item_id
