"""The page about the byte format: its example reads the store's rows, its tables name what there is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import redis
from feast import FeatureView, Field
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, String
from online_store_world import NOW, feature_store, source, user, write

from materialization.data_plane.online_store import PackedRedisOnlineStoreConfig
from materialization.data_plane.rows.keys import TAGS

PAGE = (Path(__file__).parent.parent / "docs" / "packed-rows.md").read_text(encoding="utf-8")


def test_the_page_s_example_reads_rows_without_feast_and_without_marquee(
    redis_url: str, tmp_path: Path
) -> None:
    types = {
        "a": Int64,
        "b": Float32,
        "c": String,
        "d": Bool,
        "e": Bytes,
        "f": Float64,
        "g": Int32,
        "h": String,
        "i": Array(Int64),
    }
    schema = [
        Field(name="user_id", dtype=Int64),
        *(Field(name=name, dtype=dtype) for name, dtype in types.items()),
    ]
    view = FeatureView(name="v", entities=[user], schema=schema, source=source(tmp_path, "s"))
    values = {
        "a": Value(int64_val=-5), "b": Value(float_val=0.5), "c": Value(string_val="é"), "d": Value(bool_val=True),
        "e": Value(bytes_val=b"\x00"), "f": Value(), "g": Value(int32_val=7), "i": Value(int64_list_val={"val": [1]}),
    }  # fmt: skip
    write(feature_store(tmp_path, redis_url), view, [({"user_id": 7}, values, NOW, None)])
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    example = tmp_path / "read_row.py"
    example.write_text(code, encoding="utf-8")
    words = [sys.executable, "-I", str(example), redis_url, "rank", "v", "user_id"]
    said = subprocess.run([*words, "l7"], capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == [
        int(NOW.timestamp() * 1e6),
        {"a": -5, "b": 0.5, "c": "é", "d": True, "e": repr(b"\x00"), "f": None, "g": 7, "h": None,
         "i": repr((1).to_bytes(8, "little"))},
    ]  # fmt: skip
    client = redis.Redis.from_url(redis_url)
    (key,) = client.keys("mq:r|*l7")
    row = client.get(key)
    for at in range(0, len(row), 7):
        client.setrange(key, at, bytes([row[at] ^ 4]))
        damaged = subprocess.run([*words, "l7"], capture_output=True, text=True, check=True).stdout
        assert json.loads(damaged) is None, at
        client.set(key, row)
    client.set(key, row[:30])
    assert subprocess.run([*words, "l7"], capture_output=True, text=True, check=True).stdout == "null\n"
    missing = subprocess.run([*words, "l8"], capture_output=True, text=True, check=True).stdout
    assert json.loads(missing) is None
    assert not {"feast", "materialization"} & set(re.findall(r"import (\w+)", code))
    assert len(code.splitlines()) <= 45


def test_the_page_names_every_setting_and_every_letter() -> None:
    for name in PackedRedisOnlineStoreConfig.model_fields.keys() - {"type"}:
        assert f"`{name}`" in PAGE, name
    header, _, letters = (
        line.strip("| ").split(" | ") for line in PAGE[PAGE.index("| type | STRING") :].splitlines()[:3]
    )
    assert dict(zip(header[1:], letters[1:], strict=True)) == {
        name: f"`{tag.decode()}`" for name, tag in TAGS.items()
    }
