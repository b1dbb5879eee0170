-- Each user's counts per genre and per author, as parallel lists that the request-time crosses look the candidate
-- up in. At most 100 authors per user: those met most, ties by id. One row per user with any known exposure.
WITH met AS (
    SELECT tastes.*, genres, author_id FROM tastes JOIN current_items USING (item_id)
),
per_genre AS (
    SELECT user_id, genre, count(*) AS exposures, count(*) FILTER (long_view) AS long_views, count(*) FILTER ("like") AS likes
    FROM (SELECT user_id, long_view, "like", unnest(genres) AS genre FROM met)
    GROUP BY user_id, genre
),
per_author AS (
    SELECT user_id, author_id, count(*) AS exposures, count(*) FILTER (long_view) AS long_views, count(*) FILTER ("like") AS likes
    FROM met
    WHERE author_id IS NOT NULL
    GROUP BY user_id, author_id
    QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY count(*) DESC, author_id) <= 100
),
genre_lists AS (
    SELECT
        user_id,
        list_sort(list({
            'name': genre, 'exposures': exposures::FLOAT, 'long_views': long_views::FLOAT, 'likes': likes::FLOAT
        })) AS genres,
        arg_max(genre, (long_views, genre)) FILTER (long_views > 0) AS user_favourite_genre
    FROM per_genre
    GROUP BY user_id
),
author_lists AS (
    SELECT
        user_id,
        list_sort(list({
            'name': author_id, 'exposures': exposures::FLOAT, 'long_views': long_views::FLOAT, 'likes': likes::FLOAT
        })) AS authors
    FROM per_author
    GROUP BY user_id
)
SELECT
    user_id,
    [met.name for met in genres] AS user_genre_names,
    [met.exposures for met in genres] AS user_genre_exposures,
    [met.long_views for met in genres] AS user_genre_long_views,
    [met.likes for met in genres] AS user_genre_likes,
    len(genres) AS user_genre_count,
    user_favourite_genre,
    [met.name for met in authors] AS user_author_ids,
    [met.exposures for met in authors] AS user_author_exposures,
    [met.long_views for met in authors] AS user_author_long_views,
    [met.likes for met in authors] AS user_author_likes,
    len(authors) AS user_author_count
FROM genre_lists
FULL JOIN author_lists USING (user_id)
ORDER BY user_id
