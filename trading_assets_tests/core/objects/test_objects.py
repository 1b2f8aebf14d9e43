"""What both stores of files promise: versions, refusals, order of names, clear errors without a secret."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from trading_assets.cli.doctor.machine import check_store
from trading_assets.core.errors import ChangedMeanwhileError, ConfigurationError, StorageError
from trading_assets.core.objects import FileObjects, Objects, S3Objects, open_objects
from trading_assets.core.settings import load_settings
from trading_assets_tests.core.objects.s3 import BUCKET, KEY_ID, SECRET, S3Front, point_at, s3_server


@pytest.fixture(scope="module")
def server() -> Iterator[S3Front]:
    with s3_server() as front:
        yield front


@pytest.fixture
def front(server: S3Front, monkeypatch: pytest.MonkeyPatch) -> S3Front:
    point_at(server, monkeypatch)
    return server


@pytest.fixture(params=["files", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "files":
        return FileObjects(tmp_path / "store")
    request.getfixturevalue("front")
    return S3Objects(BUCKET, "a/prefix", tmp_path / "copies")


@pytest.mark.slow
def test_a_write_says_what_it_replaces_and_the_later_of_two_is_refused(objects: Objects) -> None:
    assert objects.read("a/x.txt") is None
    first = objects.write("a/x.txt", b"one", replaces=None)
    with pytest.raises(ChangedMeanwhileError):
        objects.write("a/x.txt", b"other", replaces=None)
    second = objects.write("a/x.txt", b"two", replaces=first.version)
    with pytest.raises(ChangedMeanwhileError):
        objects.write("a/x.txt", b"late", replaces=first.version)
    assert objects.read("a/x.txt") == (b"two", second.version)
    assert objects.fetch(second).read_bytes() == b"two"
    assert not objects.delete(first)
    assert objects.delete(second)
    assert objects.read("a/x.txt") is None
    with pytest.raises(ChangedMeanwhileError):
        objects.write("a/x.txt", b"three", replaces=second.version)
    objects.put("a/x.txt", b"four")
    assert [stored.size for stored in objects.listed("a/x")] == [4]


@pytest.mark.slow
def test_names_are_listed_in_order_from_a_name_on_and_folders_by_name(objects: Objects) -> None:
    names = ["b/2.txt", "b/10.txt", "a/c/1.txt", "top.txt", "b/1.txt"]
    for name in random.Random(1).sample(names, len(names)):
        objects.put(name, name.encode())
    assert [stored.name for stored in objects.listed()] == sorted(names)
    assert [stored.name for stored in objects.listed("b/", after="b/10.txt")] == ["b/2.txt"]
    assert objects.folders() == ["a", "b"]
    assert objects.folders("a/") == ["c"]
    assert [objects.fetch(stored).read_text() for stored in objects.listed()] == sorted(names)


@pytest.mark.parametrize("name", ["../x", "a/../x", "a//x", ".hidden", ""])
def test_a_name_does_not_leave_the_store(tmp_path: Path, name: str) -> None:
    with pytest.raises(Exception, match="cannot name a file"):
        FileObjects(tmp_path).put(name, b"")
    with pytest.raises(Exception, match="cannot name a file"):
        S3Objects(BUCKET, "", tmp_path).put(name, b"")


@pytest.mark.slow
def test_a_copy_of_an_old_version_is_not_taken_for_the_new_one(front: S3Front, tmp_path: Path) -> None:
    here, there = (S3Objects(BUCKET, "p", tmp_path / name) for name in ("here", "there"))
    old = here.put("a/x.txt", b"old")
    new = there.put("a/x.txt", b"new")
    assert here.fetch(old).read_bytes() == b"old"  # the copy of this version
    with pytest.raises(ChangedMeanwhileError):
        there.fetch(old)
    assert here.fetch(new).read_bytes() == b"new"
    front.calls.clear()
    assert here.fetch(new).read_bytes() == b"new"
    assert front.calls == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (403, "InvalidAccessKeyId", "another access key"),
        (403, "SignatureDoesNotMatch", "the secret of this access key"),
        (403, "AccessDenied", "let the role"),
        (404, "NoSuchBucket", "make the bucket"),
        (400, "ExpiredToken", "new credentials"),
    ],
)
def test_a_refusal_is_a_clear_error_without_a_secret(
    front: S3Front, tmp_path: Path, status: int, code: str, says: str
) -> None:
    front.rule = lambda *_: (status, code)
    store = S3Objects(BUCKET, "p", tmp_path)
    for use in (lambda: store.read("x"), lambda: list(store.listed()), lambda: store.put("x", b"")):
        with pytest.raises(StorageError, match=says) as raised:
            use()
        assert code in str(raised.value)
        assert KEY_ID not in str(raised.value)
        assert SECRET not in str(raised.value)
        assert raised.value.__cause__ is None


def test_no_credentials_and_no_server_are_clear_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, front: S3Front
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(StorageError, match=r"NoCredentialsError.*check region, credentials"):
        S3Objects(BUCKET, "p", tmp_path).put("x", b"")


@pytest.mark.slow
def test_doctor_tries_the_store_and_finds_one_that_does_not_refuse_a_second_writer(
    front: S3Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(home=tmp_path, store_url=f"s3://{BUCKET}/desk")
    assert "a second writer refused" in check_store(settings)
    assert list(S3Objects(BUCKET, "desk", tmp_path).listed()) == []
    monkeypatch.setattr(S3Objects, "write", lambda self, name, content, **_: self.put(name, content))
    with pytest.raises(StorageError, match="does not know conditional writes"):
        check_store(settings)
    assert list(S3Objects(BUCKET, "desk", tmp_path).listed()) == []
    assert check_store(load_settings(home=tmp_path)) == "candles and reports are files in the home"


def test_the_settings_say_where(tmp_path: Path) -> None:
    home = {"home": tmp_path}
    assert open_objects(load_settings(**home), "reports").url("x") == str(tmp_path / "reports" / "x")
    told = open_objects(load_settings(**home, store_url="s3://a-bucket/of/mine/"), "candles/bybit")
    assert told.url("x") == "s3://a-bucket/of/mine/candles/bybit/x"
    for wrong in ("http://a-bucket", "s3://", "s3://UPPER", "s3://bucket/../x"):
        with pytest.raises(ConfigurationError, match=r"(?i)store_url"):
            load_settings(**home, store_url=wrong)
