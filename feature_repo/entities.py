"""Who and what features are about. Ids are text: a number's formatting must never decide whose row is read."""

from feast import Entity, ValueType

user = Entity(
    name="user",
    join_keys=["user_id"],
    value_type=ValueType.STRING,
    description="A person who is shown items.",
)
item = Entity(
    name="item", join_keys=["item_id"], value_type=ValueType.STRING, description="A title or video."
)
