"""The log as C2SP tiles: an independent verifier reads directory and HTTP; exports go on; altered ones are refused."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from crypto.checkpoint import parse_note
from crypto.tiles import bundle_path, tile_path
from hub import cli
from hub.app import create_app
from hub.errors import LogError, NotFoundError
from hub.log import NewEntry
from hub.log_tiles import export_tiles
from tests import rfc_verifier as rfc
from tests.hub_world import HubWorld


@pytest.fixture(scope="module")
def world(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubWorld]:
    world = HubWorld(tmp_path_factory.mktemp("hub"))
    world.join(world.witness)
    world.settle()
    yield world
    world.hub.close()


def grow(world: HubWorld, count: int) -> None:
    with world.hub.db.session() as session:
        world.hub.log.append_many(
            session, [NewEntry("query", "bank-01", b"p" * 32, {"item": item}) for item in range(count)]
        )
    world.settle()


def keys(world: HubWorld) -> tuple[rfc.Verifier, rfc.Verifier]:
    log, witness = world.verifiers().items()
    return rfc.Verifier(*log, kind=0x01), rfc.Verifier(*witness, kind=0x04)


def verified(world: HubWorld, directory: Path) -> int:
    return rfc.verify_tiles(rfc.read_directory(directory), *keys(world)).size


@pytest.fixture(scope="module")
def tiles(database: str, world: HubWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that grew with the log: 4, 256, 300 and 1,037 entries."""
    directory = tmp_path_factory.mktemp("tiles")
    for size in (4, 256, 300, 1037):
        if size > 4:
            grow(world, size - world.hub.log.reader.size())
        done = export_tiles(world.hub.db, directory)
        assert done.size == size == verified(world, directory)
    return directory


def test_a_directory_grows_and_verifies_at_every_size(world: HubWorld, tiles: Path) -> None:
    files = rfc.read_directory(tiles)
    assert sum(len(data) for path, data in files.items() if path.startswith("tile/0/") and "p/" not in path) == 4 * 8192
    # Whole tiles stand for their beginnings; those of a size that has a checkpoint stay.
    assert not (tiles / "tile/0/000.p").exists()
    assert (tiles / "tile/0/004.p/13").exists()
    assert (tiles / "tile/1/000.p/4").read_bytes()[:32] == rfc.MTH(rfc_hashes(files["tile/0/000"]))
    again = export_tiles(world.hub.db, tiles)
    assert (again.written, again.kept) == (0, 11)


def rfc_hashes(data: bytes) -> list[bytes]:
    return [data[i : i + 32] for i in range(0, len(data), 32)]


def test_an_interrupted_export_goes_on(world: HubWorld, tiles: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tiles"
    shutil.copytree(tiles, copy)
    (copy / "checkpoint").unlink()
    (copy / "tile/0/002").unlink()
    (copy / "tile/entries/003").unlink()
    with pytest.raises(rfc.Wrong, match="no checkpoint"):
        verified(world, copy)
    assert export_tiles(world.hub.db, copy).written == 2
    assert rfc.read_directory(copy) == rfc.read_directory(tiles)


@pytest.mark.parametrize(
    "path",
    ["tile/0/001", "tile/0/004.p/13", "tile/1/000.p/4", "tile/entries/002", "tile/entries/004.p/13", "checkpoint"],
)
def test_one_changed_or_missing_file_is_noticed(world: HubWorld, tiles: Path, path: str) -> None:
    files = rfc.read_directory(tiles)
    middle = len(files[path]) // 2
    flipped = files[path][:middle] + bytes([files[path][middle] ^ 1]) + files[path][middle + 1 :]
    for changed in (flipped, files[path][:-1], files[path] + b"\x00"):
        with pytest.raises((rfc.Wrong, ValueError)):
            rfc.verify_tiles(files | {path: changed}, *keys(world))
    del files[path]
    with pytest.raises(rfc.Wrong, match="no "):
        rfc.verify_tiles(files, *keys(world))


def test_over_http_it_is_the_same(world: HubWorld, tiles: Path) -> None:
    client = TestClient(create_app(world.hub))
    files = rfc.read_directory(tiles)
    for path, data in files.items():
        answer = client.get(f"/v1/log/tiles/{path}")
        assert (answer.status_code, answer.content) == (200, data), path
        media = answer.headers["content-type"]
        if path == "checkpoint":
            assert (media, answer.headers["cache-control"]) == ("text/plain; charset=utf-8", "no-cache")
        else:
            assert media == "application/octet-stream"
            assert "immutable" in answer.headers["cache-control"]
    plain = client.get("/v1/log/tiles/tile/entries/000", headers={"Accept-Encoding": "identity"})
    packed = client.get("/v1/log/tiles/tile/entries/000", headers={"Accept-Encoding": "gzip"})
    assert plain.content == packed.content == files["tile/entries/000"]
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    for wrong in (
        "tile/0/000.p/256",
        "tile/0/000.p/0",
        "tile/0/000.p/08",
        "tile/0/0",
        "tile/00/000",
        "tile/64/000",
        "tile/0/004",
        "tile/3/000.p/1",
        "tile/0/x000/000",
        "tile/entries/004",
        "tile/entries/x999/x999/x999/x999/999",
        "tile/entries/x999/x999/x999/x999/x999/999",
        "tile/entries/%2e%2e/000",
    ):
        assert client.get(f"/v1/log/tiles/{wrong}").status_code == 404, wrong


def test_another_log_or_an_altered_history_is_not_continued(world: HubWorld, tiles: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tiles"
    shutil.copytree(tiles, copy)
    checkpoint, _ = parse_note((copy / "checkpoint").read_text())
    body, root = (copy / "checkpoint").read_text(), (copy / "checkpoint").read_text().split("\n")[2]
    other = HubWorld(tmp_path / "other")
    try:
        other.join(other.witness)
        other.settle()
        with pytest.raises(LogError, match="not in this log's history"):
            export_tiles(other.hub.db, copy)
    finally:
        other.hub.close()
    for changed in (body.replace(root, "A" * 43 + "="), body.replace(str(checkpoint.size), "9999"), "", "x"):
        (copy / "checkpoint").write_text(changed)
        with pytest.raises(LogError, match="not in this log's history"):
            export_tiles(world.hub.db, copy)
    with pytest.raises(LogError, match="holds something else"):
        export_tiles(world.hub.db, tmp_path)


def test_without_a_cosigned_checkpoint_there_is_nothing_to_export(tmp_path: Path) -> None:
    world = HubWorld(tmp_path / "hub")
    with pytest.raises(NotFoundError):
        export_tiles(world.hub.db, tmp_path / "tiles")
    assert not (tmp_path / "tiles").exists()
    world.hub.close()


def test_the_export_of_lines_satisfies_the_independent_verifier(world: HubWorld, tiles: Path) -> None:
    lines = world.export().read_bytes().splitlines()
    assert rfc.verify_export(lines, *keys(world)) == 1037
    entry = next(number for number, line in enumerate(lines) if b'item\\":5' in line)
    for changed in (
        lines[:-1],
        lines[:entry] + lines[entry + 1 :],
        [line.replace(b"bank-01", b"bank-02") if number == entry else line for number, line in enumerate(lines)],
    ):
        with pytest.raises(rfc.Wrong):
            rfc.verify_export(changed, *keys(world))


def test_an_entry_that_no_bundle_could_hold_is_refused(world: HubWorld) -> None:
    with pytest.raises(LogError, match="65535 is the most"), world.hub.db.session() as session:
        world.hub.log.append(session, "query", "bank-01", facts={"long": "x" * 65_500})


def test_by_command(
    world: HubWorld, tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> int:
        command = ["digua-hub", "audit", "export", "--config", str(world.base / "hub.yaml"), *arguments]
        monkeypatch.setattr(sys, "argv", command)
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    directory = tmp_path / "new" / "tiles"
    assert run("--tiles", str(directory), "--json") == 0
    assert json.loads(capsys.readouterr().out)["entries"] == 1037
    assert verified(world, directory) == 1037
    monkeypatch.setenv("DIGUA_LANG", "zh")
    assert run("--tiles", str(directory)) == 0
    assert "现有 1037 条日志：新写入 0 个文件" in capsys.readouterr().out.replace("\n", "")
    assert run("--json") == 1
    assert json.loads(capsys.readouterr().err)["code"] == "request-invalid"


def test_paths_are_those_of_the_specification() -> None:
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert bundle_path(1234067, 8) == "tile/entries/x001/x234/067.p/8"
    assert f"tile/2/{rfc.tile_name(1234067)}" == tile_path(2, 1234067)
    # A tree of 70,000: 273 whole tiles and one of 112 hashes, one whole and one of 17, one of 1.
    widths: dict[int, list[int]] = {}
    for level, _, width in rfc.tiles_of(70_000):
        widths.setdefault(level, []).append(width)
    assert widths == {0: [256] * 273 + [112], 1: [256, 17], 2: [1]}
