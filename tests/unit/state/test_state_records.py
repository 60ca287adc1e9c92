"""The store: what was put is there after any end of the process; failures are sentences."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stackctl.errors import Conflict, InternalError, MachineError, NotFound, OutOfSpace
from stackctl.model.container import ContainerConfig, Status
from stackctl.model.network import NetworkConfig, VolumeConfig
from stackctl.model.record import ContainerRecord, NetworkRecord, StackRecord, VolumeRecord
from stackctl.state.id_ranges import FIRST, SIZE, IdRanges, subordinate_ranges
from stackctl.state.paths import Paths
from stackctl.state.records import Store


def container(
    identity: str, name: str = "", project: str = "p", **changes: object
) -> ContainerRecord:
    config = ContainerConfig(
        name=name or f"name-{identity}", image="i", image_id="d", argv=("true",), project=project
    )
    return ContainerRecord(id=identity, config=config, created_at=1.0, **changes)  # type: ignore[arg-type]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "root", tmp_path / "run")


@pytest.fixture
def store(paths: Paths) -> Iterator[Store]:
    store = Store.open(paths)
    yield store
    store.close()


def test_everything_is_there_after_reopening(paths: Paths, store: Store) -> None:
    network = NetworkRecord(
        id="n1", config=NetworkConfig(name="p_default", project="p"), created_at=1
    )
    volume = VolumeRecord(config=VolumeConfig(name="p_data", project="p"), created_at=2)
    stack = StackRecord(name="p", files=("/f",), project_dir="/", created_at=1, updated_at=2)
    records = [container("c2"), container("c1", project="q")]
    for record in records:
        store.put_container(record)
    store.put_network(network)
    store.put_volume(volume)
    store.put_stack(stack)
    store.close()

    again = Store.open(paths)
    assert again.containers() == tuple(records)
    assert again.containers_of("q") == (records[1],)
    assert again.container("c2") == records[0]
    assert again.container_by_name("name-c1") == records[1]
    assert (again.networks(), again.network_by_name("p_default")) == ((network,), network)
    assert (again.networks_of("p"), again.networks_of("q")) == ((network,), ())
    assert (again.volumes_of("p"), again.volume("p_data")) == ((volume,), volume)
    assert (again.stacks(), again.stack("p")) == ((stack,), stack)
    again.delete_container("c2")
    again.delete_network("n1")
    again.delete_volume("p_data")
    again.delete_stack("p")
    again.close()

    last = Store.open(paths)
    assert last.containers() == (records[1],)
    assert not last.networks() and not last.volumes() and not last.stacks()
    last.close()


def test_an_update_replaces_and_a_rename_frees_the_name(store: Store) -> None:
    first = container("c1", "web")
    store.put_container(first)
    store.put_container(replace(first, status=Status.RUNNING))
    assert [r.status for r in store.containers()] == [Status.RUNNING]
    store.put_container(container("c1", "old"))
    store.put_container(container("c2", "web"))
    assert (store.container_by_name("web") or first).id == "c2"


def test_a_name_has_one_holder(store: Store) -> None:
    store.put_container(container("c1", "web"))
    with pytest.raises(Conflict, match='"web" is in use by container c1'):
        store.put_container(container("c2", "web"))
    assert [r.id for r in store.containers()] == ["c1"]


def test_a_successor_takes_the_name_when_the_old_one_is_gone(store: Store) -> None:
    store.put_container(container("c1", "web"))
    store.put_container(container("c2", "web", replaces="c1"))
    assert store.container_by_name("web") == store.container("c1")
    with store.transaction():
        store.delete_container("c1")
        store.put_container(container("c2", "web"))
    assert store.container_by_name("web") == store.container("c2")
    assert store.container_by_name("c2_web") is None


def test_a_container_is_found_by_id_name_or_beginning(store: Store) -> None:
    store.put_container(container("abc1", "web"))
    store.put_container(container("abd2", "db"))
    assert store.find_container("abc1").id == "abc1"
    assert store.find_container("db").id == "abd2"
    assert store.find_container("abc").id == "abc1"
    with pytest.raises(Conflict):
        store.find_container("ab")
    for unknown in ("x", ""):
        with pytest.raises(NotFound):
            store.find_container(unknown)


def test_a_failed_transaction_leaves_memory_and_disk_as_they_were(
    paths: Paths, store: Store
) -> None:
    before = [container("c1", "web"), container("c2"), container("c3")]
    for record in before:
        store.put_container(record)
    with pytest.raises(RuntimeError), store.transaction():
        store.delete_container("c1")
        with store.transaction():
            store.put_container(container("c4", "web"))
        store.put_container(container("c2", "other"))
        assert [r.id for r in store.containers()] == ["c2", "c3", "c4"]
        raise RuntimeError
    assert store.containers() == tuple(before)
    assert store.container_by_name("web") == before[0]
    assert store.container_by_name("other") is None
    store.close()
    again = Store.open(paths)
    assert again.containers() == tuple(before)
    again.close()


def test_id_ranges_are_distinct_and_come_back(store: Store) -> None:
    first, second = store.allocate_id_range(), store.allocate_id_range()
    assert first != second
    assert first % SIZE == second % SIZE == 0
    store.put_container(container("c1", id_base=first))
    store.release_id_range(second)
    seen = {store.allocate_id_range() for _ in range(20)}
    assert len(seen) == 20 and first not in seen


def test_an_id_range_lasts_as_long_as_the_record(paths: Paths, store: Store) -> None:
    base = store.allocate_id_range()
    store.put_container(container("c1", id_base=base))
    store.close()
    again = Store.open(paths)
    assert again.allocate_id_range() != base
    again.delete_container("c1")
    again.close()
    last = Store.open(paths)
    assert last.allocate_id_range() == base
    last.close()


def test_ranges_of_other_programs_are_avoided() -> None:
    text = f"me:{FIRST + 10}:65536\n# comment\nbroken\nyou:100000:65536\n"
    assert subordinate_ranges(text) == ((FIRST + 10, FIRST + 10 + 65536), (100000, 165536))
    ranges = IdRanges("000000", subordinate_ranges(text))
    assert ranges.allocate(()) == FIRST + 2 * SIZE


def test_ranges_run_out_with_a_sentence() -> None:
    ranges = IdRanges("ffffff")
    used: list[int] = []
    with pytest.raises(MachineError, match="ranges of user ids"):
        while True:
            used.append(ranges.allocate(()))
    assert len(used) == len(set(used)) > 4000


def test_the_directories_are_closed_to_others(paths: Paths, store: Store) -> None:
    for path in (paths.root, paths.run):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_an_open_directory_of_an_engine_is_closed(paths: Paths, store: Store) -> None:
    store.close()
    paths.root.chmod(0o755)
    Store.open(paths).close()
    assert stat.S_IMODE(paths.root.stat().st_mode) == 0o700


def test_somebody_elses_directory_is_left_alone(paths: Paths) -> None:
    paths.root.mkdir()
    (paths.root / "thesis.txt").touch()
    with pytest.raises(MachineError, match="holds other things") as caught:
        Store.open(paths)
    assert "STACKCTL_ROOT" in caught.value.hint
    assert stat.S_IMODE(paths.root.stat().st_mode) == 0o755


def test_a_file_in_place_of_the_directory(paths: Paths) -> None:
    paths.root.touch()
    with pytest.raises(MachineError, match="cannot use") as caught:
        Store.open(paths)
    assert caught.value.hint


@pytest.mark.parametrize("damage", [b"this is no database at all" * 100, None])
def test_a_damaged_database_is_a_sentence(paths: Paths, store: Store, damage: bytes | None) -> None:
    for number in range(40):
        store.put_container(container(f"c{number}"))
    store.close()
    if damage is None:
        size = paths.database.stat().st_size
        with open(paths.database, "r+b") as file:
            file.seek(4096)
            file.write(os.urandom(size - 4096))
    else:
        paths.database.write_bytes(damage)
    with pytest.raises(MachineError, match="damaged") as caught:
        Store.open(paths)
    assert "move" in caught.value.hint


def test_a_database_of_a_newer_version_is_refused(paths: Paths, store: Store) -> None:
    store.close()
    connection = sqlite3.connect(paths.database)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(MachineError, match="newer stackctl"):
        Store.open(paths)


def test_a_record_of_a_newer_version_is_refused(paths: Paths, store: Store) -> None:
    store.put_container(container("c1"))
    store.close()
    with sqlite3.connect(paths.database) as connection:
        connection.execute("""UPDATE containers SET record = '{"new": 1, ' || substr(record, 2)""")
    connection.close()
    with pytest.raises(MachineError, match=r'container c1 .* "new" is not known'):
        Store.open(paths)


def test_a_database_that_is_in_use_elsewhere_is_a_sentence(paths: Paths, store: Store) -> None:
    store._database._connection.execute("PRAGMA busy_timeout=0")
    other = sqlite3.connect(paths.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(MachineError, match="locked") as caught:
        store.put_container(container("c1"))
    assert "only one daemon" in caught.value.hint
    other.execute("ROLLBACK")
    other.close()
    assert store.containers() == ()
    store.put_container(container("c1"))


def test_a_full_disk_is_out_of_space_and_nothing_changes(store: Store) -> None:
    run = store._database._connection.execute
    run(f"PRAGMA max_page_count={run('PRAGMA page_count').fetchone()[0]}")
    put = 0
    with pytest.raises(OutOfSpace) as caught:
        while True:
            store.put_container(container(f"c{put}"))
            put += 1
    assert "free some space" in caught.value.hint
    assert len(store.containers()) == put
    run("PRAGMA max_page_count=100000")
    store.put_container(container("last"))
    assert len(store.containers()) == put + 1


def test_another_thread_is_a_bug(store: Store) -> None:
    caught: list[BaseException] = []

    def use() -> None:
        try:
            store.put_container(container("c1"))
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert isinstance(caught[0], InternalError)


def test_a_kill_loses_no_change_of_life_either(paths: Paths) -> None:
    """Such changes do not wait for the disk, but the kernel has them."""
    child = os.fork()
    if child == 0:
        try:
            store = Store.open(paths)
            store.put_container(container("c1"))
            store.put_container(container("c1", status=Status.STARTING))
            store.put_container(container("c1", status=Status.RUNNING, started_at=2.0))
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    store = Store.open(paths)
    assert store.container("c1") == container("c1", status=Status.RUNNING, started_at=2.0)
    store.close()


def test_only_changes_of_life_do_not_wait_for_the_disk(store: Store) -> None:
    statements: list[str] = []
    store._database._connection.set_trace_callback(statements.append)

    def relaxed(**changes: object) -> bool:
        statements.clear()
        store.put_container(container("c1", **changes))
        return any("NORMAL" in s for s in statements)

    running = {"status": Status.RUNNING, "started_at": 1.0}
    assert not relaxed()
    assert relaxed(**running)
    assert statements[-1] == "PRAGMA synchronous=FULL"
    assert not relaxed(**running, stopped_by_user=True)
    assert not relaxed(**{**running, "status": Status.EXITED}, exit_code=0)


def test_a_kill_during_writes_loses_nothing_that_was_committed(paths: Paths) -> None:
    for _ in range(5):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                store = Store.open(paths)
                number = len(store.containers())
                while True:
                    with store.transaction():
                        store.put_container(container(f"a{number}"))
                        store.put_container(container(f"b{number}"))
                    os.write(writer, b"%8d" % number)
                    number += 1
            finally:
                os._exit(1)
        os.close(writer)
        told = -1
        for _ in range(20):
            told = int(os.read(reader, 8))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while text := os.read(reader, 8):
            told = int(text)
        os.close(reader)
        store = Store.open(paths)
        ids = {r.id for r in store.containers()}
        assert {f"a{told}", f"b{told}"} <= ids
        assert {i[1:] for i in ids if i[0] == "a"} == {i[1:] for i in ids if i[0] == "b"}
        store.close()
