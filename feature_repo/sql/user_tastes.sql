-- Each user's counts per genre and per author, as parallel lists that the request-time crosses look the candidate
-- up in. At most 100 authors per user: those met most, ties by id. One row per user with any known exposure.
WITH met AS (
    SELECT tastes.*, genres, author_id FROM tastes JOIN current_items USING (item_id)
),
per_genre AS (
    SELECT user_id, genre, sum(exposure) AS exposures, count(*) FILTER (long_view) AS long_views, count(*) FILTER ("like") AS likes
    FROM (SELECT user_id, exposure, long_view, "like", unnest(genres) AS genre FROM met)
    GROUP BY user_id, genre
),
per_author AS (
    SELECT user_id, author_id, sum(exposure) AS exposures, count(*) FILTER (long_view) AS long_views, count(*) FILTER ("like") AS likes
    FROM met
    WHERE author_id IS NOT NULL
    GROUP BY user_id, author_id
    QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY sum(exposure) DESC, author_id) <= 100
),
genre_lists AS (
    SELECT
        user_id,
        list(genre ORDER BY genre) AS user_genre_names,
        list(exposures::FLOAT ORDER BY genre) AS user_genre_exposures,
        list(long_views::FLOAT ORDER BY genre) AS user_genre_long_views,
        list(likes::FLOAT ORDER BY genre) AS user_genre_likes,
        count(*) AS user_genre_count,
        arg_max(genre, (long_views, genre)) AS user_favourite_genre
    FROM per_genre
    GROUP BY user_id
),
author_lists AS (
    SELECT
        user_id,
        list(author_id ORDER BY author_id) AS user_author_ids,
        list(exposures::FLOAT ORDER BY author_id) AS user_author_exposures,
        list(long_views::FLOAT ORDER BY author_id) AS user_author_long_views,
        list(likes::FLOAT ORDER BY author_id) AS user_author_likes,
        count(*) AS user_author_count
    FROM per_author
    GROUP BY user_id
)
SELECT * FROM genre_lists FULL JOIN author_lists USING (user_id) ORDER BY user_id
