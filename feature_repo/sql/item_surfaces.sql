-- Each item's counts per surface, as parallel lists that the request-time crosses look the request's surface up in.
-- One row per item shown at least once.
WITH per_surface AS (
    SELECT
        item_id,
        surface,
        count(*) AS exposures,
        count(*) FILTER (click) AS clicks,
        count(*) FILTER (long_view) AS long_views
    FROM exposures
    GROUP BY item_id, surface
)
SELECT
    item_id,
    list(surface ORDER BY surface) AS item_surface_names,
    list(exposures::FLOAT ORDER BY surface) AS item_surface_exposures,
    list(clicks::FLOAT ORDER BY surface) AS item_surface_clicks,
    list(long_views::FLOAT ORDER BY surface) AS item_surface_long_views,
    count(*) AS item_surface_count
FROM per_surface
GROUP BY item_id
ORDER BY item_id
