"""What the suites of others ask of Docker's API, and the answers that they compare."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support.engine import Engine
from support.waiting import wait_until
from support.web import web
from support.wire import Answer, Api, cleared

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

IMAGE = "stackctl/host"


@pytest.fixture
def api(engine: Engine) -> Iterator[Api]:
    engine.ok("info")
    with cleared(engine.paths.socket) as found:
        yield found


def create(api: Api, name: str, *argv: str, **more: Any) -> Answer:
    wish = {"Image": IMAGE, "Cmd": list(argv or ("sleep", "1000")), **more}
    return api("POST", f"/containers/create?name={name}", wish)


def start(api: Api, name: str, *argv: str, **more: Any) -> None:
    assert create(api, name, *argv, **more).status == 201
    assert api("POST", f"/containers/{name}/start").status == 204


def inspected(api: Api, name: str) -> Any:
    return api("GET", f"/containers/{name}/json").json


def test_bodies_have_to_say_that_they_are_json(api: Api) -> None:
    for path in (
        *("/containers/create", "/containers/x/exec", "/containers/x/update", "/exec/x/start"),
        *("/networks/create", "/networks/bridge/connect", "/volumes/create"),
    ):
        plain = api("POST", path, b"{}", Content_Type="text/plain")
        assert plain.status == 400 and "Content-Type header (text/plain)" in plain.message, path
        nothing = api("POST", path, b"{}")
        assert nothing.status == 400 and "Content-Type" in nothing.message, path
        broken = api("POST", path, b"{broken", Content_Type="application/json; charset=utf-8")
        assert broken.status == 400 and "invalid JSON: " in broken.message, path
        more = api("POST", path, b"{} more", Content_Type="application/json")
        assert more.status == 400 and "unexpected content after JSON" in more.message, path
        assert api("POST", path, b"", Content_Type="application/json").status < 500
    assert len(api("GET", "/networks/").json) >= 3
    assert api("OPTIONS", "/containers/json").status == 200

    # Mistakes that only the engine can see.
    for wish, words in (
        ({"HostConfig": {"Links": ["gone"]}}, "could not get container for gone"),
        ({"HostConfig": {"VolumesFrom": ["gone"]}}, "volumes from gone"),
        (
            {"HostConfig": {"Mounts": [{"Type": "bind", "Source": "/gone", "Target": "/x"}]}},
            "bind source path does not exist: /gone",
        ),
        # Not 404: the docker command would take it for the image's, and pull.
        ({"HostConfig": {"NetworkMode": "gone"}}, "network gone not found"),
        ({"HostConfig": {"NanoCpus": 10**12}}, "range of CPUs is from 0.01 to "),
        ({"HostConfig": {"DeviceRequests": [{"Count": -1}]}}, '[{"Count": -1}] is not supported'),
    ):
        refused = create(api, "wrong", **wish)
        assert refused.status == 400 and words in refused.message
    for image in ("praqma/network-multitool", "my-volume", "container:1"):
        missing = api("POST", "/containers/create", {"Image": image})
        assert missing.status == 404 and missing.message.startswith(f"No such image: {image}")
    # Halves of characters are none, as in Go; clients' patterns hold nobody up.
    odd = api(
        "POST", "/containers/create?name=odd", {"Image": IMAGE, "Cmd": ["\ud800", "\U0001f600"]}
    )
    assert inspected(api, "odd")["Config"]["Cmd"] == ["\ufffd", "\U0001f600"]
    assert api("POST", f"/containers/{odd.json['Id']}/rename?name={'a' * 40}_").status == 204
    slow = quote(json.dumps({"name": ["^/?(a+)+$"]}))
    assert api("GET", f"/containers/json?all=1&filters={slow}").json == []
    assert api("DELETE", f"/containers/{'a' * 40}_").status == 204
    assert api("GET", "/events?until=nan").status == 400
    wish = {"Image": IMAGE, "Cmd": ["true"]}
    other = api("POST", "/containers/create?platform=linux/s390x", wish)
    assert other.status == 404 and "for linux/s390x" in other.message
    two = {"NetworkingConfig": {"EndpointsConfig": {"a": {}, "b": {}}}, **wish}
    old = Api(api.socket, "/v1.43")("POST", "/containers/create", two)
    assert old.status == 400 and "multiple network endpoints" in old.message
    for field in ({"ConfigOnly": True}, {"ConfigFrom": {"Network": "x"}}, {"Scope": "swarm"}):
        assert api("POST", "/networks/create", {"Name": "n", **field}).status == 400
    made = api("POST", "/networks/create", {"Name": "n", "Options": {"foo": "bar"}})
    assert made.status == 201 and "foo" in made.json["Warning"]
    assert api("GET", "/networks/n").json["Options"] == {"foo": "bar"}
    assert "neither a Git" in api("POST", "/build?remote=/etc").message


def test_the_life_of_containers(api: Api) -> None:
    start(api, "plain", HostConfig={"PidsLimit": 32})
    rates = {
        f"BlkioDevice{what}": [{"Path": "/dev/sda", "Rate": 7}] for what in ("ReadBps", "WriteIOps")
    }
    assert create(api, "limited", HostConfig={**rates, "Memory": 1 << 25}).status == 201
    told = inspected(api, "limited")["HostConfig"]
    assert {name: told[name] for name in rates} == rates and told["MemorySwap"] == 1 << 26
    assert told["BlkioDeviceReadIOps"] == [] and told["CpuPercent"] == 0
    found = api("GET", "/containers/plain/top?ps_args=-eo+pid,comm").json
    assert found["Titles"] == ["PID", "COMMAND"]
    assert [row[1] for row in found["Processes"]] == ["sleep"]
    assert api("GET", "/containers/plain/top").json["Processes"][0][4].count(":") == 1
    for arguments, words in (("--invalid", "ps --invalid: "), ("-eo+comm", "PID")):
        refused = api("GET", f"/containers/plain/top?ps_args={arguments}")
        assert refused.status == 400 and words in refused.message
    for asked, kept in ((None, 32), (16, 16), (-2, 0)):
        api("POST", "/containers/plain/update", {"PidsLimit": asked})
        assert inspected(api, "plain")["HostConfig"]["PidsLimit"] == kept

    made = [api("POST", "/containers/plain/exec", {"Cmd": ["true"]}).json["Id"] for _ in range(3)]
    assert api("POST", f"/exec/{made[0]}/start", {"Detach": True}).status == 200
    assert api("GET", f"/exec/{made[0]}/json").json["Pid"] > 1
    api("POST", "/containers/plain/pause")
    paused = api("POST", f"/exec/{made[1]}/start", {"Detach": True})
    assert paused.status == 409 and "unpause the container before exec" in paused.message
    api("POST", "/containers/plain/unpause")
    api("POST", "/containers/plain/restart?t=0")
    for old in made[1:]:  # they were for the run before
        assert api("POST", f"/exec/{old}/start", {"Detach": True}).status == 404
    api("POST", "/containers/plain/stop?t=0")
    resized = api("POST", "/containers/plain/resize?h=4&w=4")
    assert resized.status == 409 and "is not running" in resized.message

    # Who sends the signal that stops it wants it to stay stopped.
    trap = ("sh", "-c", "trap 'exit 3' TERM INT; echo ready; while :; do sleep 0.1; done")
    for signal, outcome in (("TERM", "exited"), ("INT", "again")):
        start(api, signal, *trap, HostConfig={"RestartPolicy": {"Name": "always"}})
        wait_until(lambda s=signal: b"ready" in api("GET", f"/containers/{s}/logs?stdout=1").body)
        before = inspected(api, signal)["State"]["StartedAt"]
        assert api("POST", f"/containers/{signal}/kill?signal={signal}").status == 204

        def seen(name: str = signal, old: str = before) -> str:
            now = inspected(api, name)["State"]
            return "again" if now["StartedAt"] != old else str(now["Status"])

        wait_until(lambda look=seen, last=outcome: look() == last)
        assert (inspected(api, signal)["RestartCount"] > 0) is (outcome == "again")
        api("DELETE", f"/containers/{signal}?force=1")

    # What goes when it ends can be restarted.
    start(api, "short", HostConfig={"AutoRemove": True})
    assert api("POST", "/containers/short/restart?t=0").status == 204
    assert inspected(api, "short")["State"]["Running"] is True
    api("POST", "/containers/short/kill")
    wait_until(lambda: api("GET", "/containers/short/json").status == 404)


def test_links_tell_variables_in_the_default_network(api: Api) -> None:
    start(api, "db", ExposedPorts={"80/tcp": {}}, Env=["A=b"])
    start(api, "web", "env", HostConfig={"Links": ["db:base"]}, Env=["BASE_ENV_A=mine"])
    api("POST", "/containers/web/wait")
    said = api("GET", "/containers/web/logs?stdout=1").body.decode(errors="replace")
    address = inspected(api, "db")["NetworkSettings"]["IPAddress"]
    assert f"BASE_PORT_80_TCP=tcp://{address}:80" in said and "BASE_NAME=/web/base" in said
    assert "BASE_ENV_A=mine" in said
    names = {tuple(row["Names"]) for row in api("GET", "/containers/json?all=1").json}
    assert names == {("/web",), ("/db", "/web/base")}


def test_mounts_and_archives(api: Api) -> None:
    mounts = [
        {"Type": "volume", "Target": "/a/", "Source": "va", "ReadOnly": True},
        {"Type": "bind", "Target": "/b", "Source": "/etc", "ReadOnly": True},
    ]
    host = {"Mounts": mounts, "Binds": ["/etc:/c:ro", "vd:/d"], "Tmpfs": {"/t": ""}}
    start(api, "box", User="7:8", HostConfig=host)
    shown = {m["Destination"]: m["Mode"] for m in inspected(api, "box")["Mounts"]}
    assert shown == {"/a": "z", "/b": "", "/c": "ro", "/d": "z"}

    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, kind in (("in", tarfile.DIRTYPE), ("in/file", tarfile.REGTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid = kind, 0o755, 42
            archive.addfile(member)
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "in"
        archive.addfile(link)

    def owners(path: str) -> dict[str, int]:
        answer = api("GET", f"/containers/box/archive?path={quote(path)}")
        assert answer.status == 200, answer.body
        with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
            return {member.name: member.uid for member in archive}

    put = "/containers/box/archive?path=/tmp"
    assert api("PUT", put, b"").status == 200
    assert api("PUT", f"{put}&copyUIDGID=0", raw.getvalue()).status == 200
    assert owners("/tmp/in") == {"in": 42, "in/file": 42}
    assert api("PUT", f"{put}&copyUIDGID=1", raw.getvalue()).status == 200
    assert owners("/tmp/link/") == {"link": 7, "link/file": 7}
    assert owners("/tmp/in/.") == {".": 7, "./file": 7}
    for method, path, status, words in (
        ("GET", "/gone", 404, "Could not find the file /gone in container box"),
        ("PUT", "/gone", 404, "Could not find the file /gone in container box"),
        ("GET", "/etc/passwd/", 400, "not a directory"),
        ("PUT", "/etc/passwd/", 400, "not a directory"),
    ):
        refused = api(method, f"/containers/box/archive?path={path}", raw.getvalue())
        assert refused.status == status and words in refused.message, (method, path)


def test_images_volumes_and_the_build_cache(api: Api, tmp_path: Path) -> None:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, text in (("Dockerfile", f"FROM {IMAGE}\nCOPY f /f\n"), ("f", "x" * 5000)):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))

    def build(query: str, content: bytes) -> Answer:
        return api("POST", f"/build?{query}", content, Content_Type="application/x-tar")

    said = build("t=made:1", context.getvalue()).body
    assert b"Successfully built" in said
    empty = build("dockerfile=f", context.getvalue())
    assert empty.status == 400, empty.body  # nothing of it has been built
    for name, tag in (("utest", "a"), ("utest/docker", "b"), ("utest:5000/docker", "c")):
        assert api("POST", f"/images/made:1/tag?repo={quote(name)}&tag={tag}").status == 201

    def named(pattern: str) -> list[str]:
        filters = quote(json.dumps({"reference": [pattern]}))
        rows = api("GET", f"/images/json?filters={filters}").json
        return [tag for row in rows for tag in row["RepoTags"]]

    assert named("utest*") == ["utest:a"] and named("utest") == ["utest:a"]
    assert len(named("utest*/*")) == 2 and named("*5000*/*") == ["utest:5000/docker:c"]
    (old,) = Api(api.socket, "/v1.24")("GET", "/images/json?filter=utest").json
    assert old["RepoTags"] == ["utest:a"]
    assert api("POST", f"/images/{IMAGE}/tag?repo=mine").status == 400

    (tmp_path / "root.tar").write_bytes(context.getvalue())
    with web(tmp_path) as address:
        source = f"/images/create?repo=web&fromSrc={address.removeprefix('http://')}"
        assert b"sha256:" in api("POST", f"{source}/root.tar").body
    for wrong in (f"{address}/root.tar", "file:///etc/passwd"):
        assert api("POST", f"/images/create?repo=web2&fromSrc={wrong}").status == 400
    assert api("DELETE", "/images/web").status == 200

    usage = api("GET", "/system/df").json
    known = {entry["ID"] for entry in usage["BuildCache"]}
    assert any(e["Size"] >= 5000 and e["Shared"] is True for e in usage["BuildCache"])
    until = quote('{"until": ["24h"]}')
    assert api("POST", f"/build/prune?filters={until}").json["CachesDeleted"] == []
    assert api("POST", "/build/prune?keep-storage=100000000").json["CachesDeleted"] == []
    assert api("DELETE", "/images/made:1").status == 200
    for tag in named("utest*") + named("utest*/*"):
        api("DELETE", f"/images/{tag}")
    gone = api("POST", "/build/prune?all=1").json
    assert set(gone["CachesDeleted"]) == known and gone["SpaceReclaimed"] >= 5000
    assert api("GET", "/system/df?type=build-cache").json == {"BuildCache": []}

    volume = api("POST", "/volumes/create", {"Name": "kept"}).json
    with open(f"{volume['Mountpoint']}/file", "w") as file:
        file.write("x" * 9000)
    pruned = api("POST", "/volumes/prune?filters=" + quote('{"all": ["1"]}')).json
    assert pruned["VolumesDeleted"] == ["kept"] and pruned["SpaceReclaimed"] >= 9000
