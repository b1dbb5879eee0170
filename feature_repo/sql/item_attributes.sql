-- What the catalogue says of each item. One row per item.
SELECT
    item_id,
    author_id AS item_author_id,
    genres AS item_genres,
    len(genres) AS item_genre_count,
    genres[1] AS item_first_genre,
    "language" AS item_language,
    countries[1] AS item_country,
    len("cast") AS item_cast_size,
    epoch(release_timestamp) AS item_released_at,
    duration_ms / 1000.0 AS item_duration_seconds,
    item_type,
    upload_type AS item_upload_type,
    music_type AS item_music_type,
    width AS item_width,
    height AS item_height,
    width / nullif(height, 0) AS item_aspect_ratio,
    maturity AS item_maturity
FROM current_items
ORDER BY item_id
