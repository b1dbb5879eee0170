-- When and where each user comes, over 7 days (UTC hours). One row per user seen within 9 days: the window and the
-- view's ttl, so that who falls silent gets an empty row before an older row could stand in.
WITH recent AS (
    SELECT user_id, hour(event_timestamp) AS hour, isodow(event_timestamp) >= 6 AS weekend, surface, device, long_view, session_id
    FROM exposures
    WHERE within(event_timestamp, 7)
),
per_surface AS (
    SELECT user_id, surface, count(*) AS exposures, count(*) FILTER (long_view) AS long_views
    FROM recent
    GROUP BY user_id, surface
),
surfaces AS (
    SELECT
        user_id,
        list(surface ORDER BY surface) AS user_surface_names,
        list(exposures::FLOAT ORDER BY surface) AS user_surface_exposures,
        list(long_views::FLOAT ORDER BY surface) AS user_surface_long_views,
        arg_max(surface, (exposures, surface)) AS user_usual_surface,
        max(exposures) / sum(exposures) AS user_usual_surface_share
    FROM per_surface
    GROUP BY user_id
),
clock AS (
    SELECT
        user_id,
        avg((hour < 6)::INT) AS user_night_share,
        avg((hour >= 6 AND hour < 12)::INT) AS user_morning_share,
        avg((hour >= 12 AND hour < 18)::INT) AS user_afternoon_share,
        avg((hour >= 18)::INT) AS user_evening_share,
        avg(weekend::INT) AS user_weekend_share,
        mode(device ORDER BY device) AS user_recent_device,
        rate(count(*), count(DISTINCT session_id)) AS user_session_length,
        atan2(sum(sin(hour * pi() / 12)), sum(cos(hour * pi() / 12))) * 12 / pi() AS mean_hour
    FROM recent
    GROUP BY user_id
)
SELECT
    user_id,
    user_night_share,
    user_morning_share,
    user_afternoon_share,
    user_evening_share,
    user_weekend_share,
    user_recent_device,
    user_session_length,
    CASE WHEN mean_hour < 0 THEN mean_hour + 24 ELSE mean_hour END AS user_mean_hour,
    user_usual_surface,
    user_usual_surface_share,
    user_surface_names,
    user_surface_exposures,
    user_surface_long_views
FROM (SELECT DISTINCT user_id FROM exposures WHERE within(event_timestamp, 9))
LEFT JOIN clock USING (user_id)
LEFT JOIN surfaces USING (user_id)
ORDER BY user_id
