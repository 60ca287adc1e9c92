"""Docker's API as bytes on the socket: what clients rely on and no library shows."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from support.engine import Engine
from support.waiting import wait_until
from support.wire import Api, Wire, cleared

pytestmark = pytest.mark.needs("root", "netns", "userns", "overlay", "cgroup", "nft", "bridge")

IMAGE = "stackctl/host"
RAW = "application/vnd.docker.raw-stream"
FRAMES = "application/vnd.docker.multiplexed-stream"
UPGRADE = {"Connection": "Upgrade", "Upgrade": "tcp"}


@pytest.fixture
def api(engine: Engine) -> Iterator[Api]:
    engine.ok("info")
    with cleared(engine.paths.socket) as found:
        yield found


def create(api: Api, name: str, *argv: str, **more: Any) -> str:
    wish = {"Image": IMAGE, "Cmd": list(argv), **more}
    made = api("POST", f"/containers/create?name={name}", wish)
    assert made.status == 201, made.body
    return str(made.json["Id"])


def test_versions_headers_and_connections(api: Api) -> None:
    bare = Api(api.socket, "")
    for method in ("GET", "HEAD"):
        ping = bare(method, "/_ping")
        assert ping.status == 200 and ping.body == (b"OK" if method == "GET" else b"")
        assert ping.headers["api-version"] == "1.51" and ping.headers["ostype"] == "linux"
        assert ping.headers["docker-experimental"] == "false"
        assert ping.headers["content-type"].startswith("text/plain")
        assert "no-cache" in ping.headers["cache-control"] and ping.headers["server"]
    assert bare("GET", "/version").json["ApiVersion"] == "1.51"
    assert Api(api.socket, "/v1.24")("GET", "/containers/json").json == []
    old = Api(api.socket, "/v1.23")("GET", "/containers/json")
    assert old.status == 400 and "client version 1.23 is too old" in old.message
    new = Api(api.socket, "/v1.99")("GET", "/containers/json")
    assert new.status == 400 and "client version 1.99 is too new" in new.message
    assert api("GET", "/no/such/page").status == 404
    assert api("GET", "/session").status == 404

    with api.wire() as wire:  # HTTP/1.0: the answer ends with the connection
        wire.send(b"GET /_ping HTTP/1.0\r\n\r\n")
        assert wire.rest().endswith(b"\r\n\r\nOK")
    with api.wire() as wire:  # one connection for many, a body in chunks, one that waits for leave
        wire.ask("GET", "/v1.51/info")
        assert wire.body(wire.head())
        chunked = {"Transfer_Encoding": "chunked", "Content_Type": "application/json"}
        wire.ask("POST", "/v1.51/volumes/create", **chunked)
        for piece in (b'{"Name": ', b'"chunked"}'):
            wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        wire.send(b"0\r\n\r\n")
        head = wire.head()
        assert head.status == 201 and json.loads(wire.body(head))["Name"] == "chunked"
        body = b'{"Name": "expected"}'
        request = "POST /v1.51/volumes/create HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\n"
        request += "Content-Type: application/json\r\n"
        wire.send(f"{request}Content-Length: {len(body)}\r\n\r\n".encode())
        assert wire.head().status == 100
        wire.send(body)
        head = wire.head()
        assert head.status == 201 and json.loads(wire.body(head))["Name"] == "expected"
        wire.ask("POST", "/v1.51/volumes/prune", b"")
        assert wire.body(wire.head())


def test_what_one_machine_has_not(api: Api) -> None:
    for path in ("/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs", "/nodes/x"):
        answer = api("GET", path)
        assert answer.status == 503 and "This node is not a swarm manager" in answer.message
    assert api("POST", "/swarm/leave").message == "This node is not part of a swarm"
    assert api("GET", "/plugins").json == []
    assert api("GET", "/plugins/a/b/json").message == 'plugin "a/b" not found'
    assert api("POST", "/plugins/pull?remote=x").status == 404
    assert api("GET", "/images/search?term=x").status == 400
    for kind in ("containers", "images", "networks", "volumes"):
        pruned = api("POST", f"/{kind}/prune").json
        assert [] in pruned.values(), pruned  # empty lists, never null


def test_failures_in_the_words_that_clients_look_for(api: Api) -> None:
    made = create(api, "taken", "sleep", "100", HostConfig={"CpuPercent": 5})
    again = api("POST", "/containers/create?name=taken", {"Image": IMAGE, "Cmd": ["true"]})
    assert again.status == 409
    assert again.message.startswith(
        f'Conflict. The container name "/taken" is already in use by container "{made}".'
    )
    warned = api("POST", "/containers/create", {"Image": IMAGE, "HostConfig": {"CpuCount": 1}})
    assert warned.status == 201 and "CpuCount" in warned.json["Warnings"][0]
    missing = api("POST", "/containers/create", {"Image": "no-such"})
    assert (missing.status, missing.message) == (404, "No such image: no-such:latest")
    typed = api("POST", "/containers/create", {"Image": IMAGE, "HostConfig": {"Memory": "1g"}})
    assert typed.status == 400 and "HostConfig.Memory" in typed.message
    assert api("POST", "/containers/create", b"{nonsense").status == 400
    for path, body in (
        ("/networks/create", {"Name": "x", "IPAM": {"Config": [[]]}}),
        ("/volumes/create", {"Labels": []}),
        ("/auth", {"serveraddress": [None]}),
        (f"/containers/{made}/update", {"Memory": "1g"}),
        (f"/containers/{made}/exec", {"Cmd": "text"}),
    ):
        mistyped = api("POST", path, body)
        assert mistyped.status == 400 and "is expected" in mistyped.message, path
    for method, path in (("GET", "/json"), ("POST", "/start"), ("GET", "/logs?stdout=1")):
        gone = api(method, f"/containers/gone{path}")
        assert (gone.status, gone.message) == (404, "No such container: gone")
    assert api("GET", "/networks/gone").message == "network gone not found"
    assert api("GET", "/volumes/gone").message == "get gone: no such volume"
    assert api("GET", "/exec/gone/json").message == "No such exec instance: gone"
    stopped = api("POST", f"/containers/{made}/stop")
    assert (stopped.status, stopped.body) == (304, b"")
    assert api("POST", f"/containers/{made}/start").status == 204
    assert api("POST", f"/containers/{made}/start").status == 304
    busy = api("DELETE", f"/containers/{made}")
    assert busy.status == 409 and "stop the container before" in busy.message
    assert api("GET", "/containers/json?filters=nonsense").status == 400
    for filters in ('{"name": ["taken"]}', '{"name": {"taken": true, "other": false}}'):
        assert len(api("GET", f"/containers/json?filters={quote(filters)}").json) == 1
    unknown = api("GET", "/containers/json?filters=" + quote('{"bogus": ["1"]}'))
    assert unknown.status == 400 and "invalid filter 'bogus'" in unknown.message


def test_attach_wait_logs_and_events(api: Api) -> None:
    began = time.time()
    script = "echo out; echo err >&2; cat; exit 7"
    made = create(
        api, "streams", "sh", "-c", script, OpenStdin=True, StdinOnce=True, AttachStdin=True
    )
    wait, attach = api.wire(), api.wire()
    with wait, attach:
        wait.ask("POST", f"/v1.51/containers/{made}/wait?condition=next-exit")
        assert wait.head().status == 200  # before there is anything to wait for
        attach.ask(
            "POST",
            f"/v1.51/containers/{made}/attach?stream=1&stdin=1&stdout=1&stderr=1",
            **UPGRADE,
        )
        head = attach.head()
        assert (head.status, head.reason) == (101, "UPGRADED")
        assert head.headers["content-type"] == FRAMES and head.headers["upgrade"] == "tcp"
        assert api("POST", f"/containers/{made}/start").status == 204
        assert sorted((attach.frame(), attach.frame())) == [(1, b"out\n"), (2, b"err\n")]
        attach.send(b"typed\n")
        assert attach.frame() == (1, b"typed\n")
        attach.end()  # half-close is the end of its input
        assert attach.rest() == b""
        assert json.loads(wait.chunk())["StatusCode"] == 7
    assert api("POST", f"/containers/{made}/wait").json["StatusCode"] == 7

    with api.wire() as wire:  # no upgrade asked for, an older version: raw bytes after a 200
        wire.ask("POST", f"/v1.41/containers/{made}/attach?logs=1&stdout=1")
        head = wire.head()
        assert head.status == 200 and head.headers["content-type"] == RAW
        assert [wire.frame(), wire.frame()] == [(1, b"out\n"), (1, b"typed\n")]
        assert wire.rest() == b""

    logs = f"/containers/{made}/logs?stdout=1&stderr=1"
    written = api("GET", logs)
    assert written.headers["content-type"] == FRAMES
    assert b"\1\0\0\0\0\0\0\4out\n" in written.body and b"\2\0\0\0\0\0\0\4err\n" in written.body
    assert api("GET", logs + "&tail=1").body == b"\1\0\0\0\0\0\0\6typed\n"
    assert api("GET", logs + f"&since={time.time() + 60:.0f}").body == b""
    assert api("GET", logs + "&until=1").body == b""
    stamped = api("GET", logs + "&tail=1&timestamps=1").body[8:]
    stamp, _, text = stamped.partition(b" ")
    assert text == b"typed\n" and stamp.endswith(b"Z") and len(stamp) == 30
    assert api("GET", f"/containers/{made}/logs").status == 400  # no stream was chosen

    filters = quote(json.dumps({"container": [made]}))
    lines = api("GET", f"/events?since={began:.6f}&until={time.time():.6f}&filters={filters}").body
    events = [json.loads(line) for line in lines.splitlines()]
    assert [e["Action"] for e in events] == ["create", "attach", "start", "die"]
    for event in events:
        assert event["status"] == event["Action"] and event["id"] == event["Actor"]["ID"] == made
        assert event["from"] == IMAGE and event["Type"] == "container"
        assert event["time"] == event["timeNano"] // 1_000_000_000 and event["scope"] == "local"
    assert events[-1]["Actor"]["Attributes"]["exitCode"] == "7"
    # Who says 0, or when it ends and nothing of its beginning, gets all of the past.
    for past in ("since=0&", ""):
        same = api("GET", f"/events?{past}until={time.time():.6f}&filters={filters}").body
        assert same == lines


def test_attach_by_web_socket(api: Api) -> None:
    """RFC 6455: its own example of a key; frames in pieces, pings, a close from each side."""
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    key = {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    script = "echo out; cat; echo end >&2; exit 7"
    made = create(api, "web", "sh", "-c", script, OpenStdin=True, StdinOnce=True)
    path = f"/v1.51/containers/{made}/attach/ws?stream=1&stdin=1&stdout=1&stderr=1&logs=1"
    with api.wire() as plain:
        plain.ask("GET", path, **upgrade)
        assert plain.head().status == 400

    def frame(first: int, data: bytes) -> bytes:
        mask = b"\x01\x02\x03\x04"
        mixed = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
        size = bytes([0x80 | len(data)]) if len(data) < 126 else struct.pack(">BH", 0xFE, len(data))
        return bytes([first]) + size + mask + mixed

    def message(wire: Wire) -> tuple[int, bytes]:
        first, size = wire.exactly(2)
        if size == 126:
            (size,) = struct.unpack(">H", wire.exactly(2))
        return first, wire.exactly(size)

    with api.wire() as wire, api.wire() as reader, api.wire() as odd:
        for each in (wire, reader, odd):
            each.ask("GET", path if each is wire else path.replace("stdin", "x"), **upgrade, **key)
            head = each.head()
            assert head.status == 101 and head.headers["upgrade"] == "websocket"
            assert head.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert api("POST", f"/containers/{made}/start").status == 204
        assert message(wire) == message(reader) == (0x82, b"out\n")
        odd.send(b"\x81\x01x")  # without a mask
        while (closing := message(odd))[0] != 0x88:
            assert closing[0] == 0x82
        assert closing[1] == struct.pack(">H", 1002) and odd.rest() == b""

        wire.send(frame(0x01, b"ty") + frame(0x89, b"there?") + frame(0x80, b"x" * 500 + b"\n"))
        typed, heard = b"ty" + b"x" * 500 + b"\n", {0x82: b"", 0x8A: b""}
        while len(heard[0x82]) < len(typed) or not heard[0x8A]:
            first, data = message(wire)
            heard[first] += data
        assert heard == {0x82: typed, 0x8A: b"there?"}
        # The input ends with whoever held it; the other is told of the end.
        wire.send(frame(0x88, struct.pack(">H", 1000)))
        assert message(wire) == (0x88, struct.pack(">H", 1000)) and wire.rest() == b""
        seen = b""
        while (last := message(reader))[0] == 0x82:
            seen += last[1]
        assert seen == typed + b"end\n" and last == (0x88, struct.pack(">H", 1000))
        reader.send(frame(0x88, b""))
    assert api("POST", f"/containers/{made}/wait").json["StatusCode"] == 7


def test_terminals_detach_keys_and_exec(api: Api) -> None:
    made = create(
        api,
        "shell",
        "sh",
        Tty=True,
        OpenStdin=True,
        Env=["PS1=> "],
        HostConfig={"ConsoleSize": [33, 77]},
    )
    with api.wire() as wire:
        wire.ask(
            "POST",
            f"/v1.51/containers/{made}/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-x,d",
            **UPGRADE,
        )
        assert wire.head().headers["content-type"] == RAW
        assert api("POST", f"/containers/{made}/start").status == 204
        wire.until(b"> ")
        wire.send(b"stty size; echo a$((40+2))\n")
        assert b"33 77" in wire.until(b"a42\r\n")
        assert api("POST", f"/containers/{made}/resize?h=20&w=50").status == 200
        wire.send(b"stty size; echo b$((40+2))\n")
        assert b"20 50" in wire.until(b"b42\r\n")
        wire.send(b"\x18d")
        wire.rest()  # let go: it ends, and the shell lives
    shown = api("GET", f"/containers/{made}/json").json
    assert shown["State"]["Running"] and shown["Config"]["AttachStdout"] is False

    def start(exec_wish: dict[str, Any], begin: dict[str, Any]) -> tuple[str, Any, bytes]:
        exec_id = api("POST", f"/containers/{made}/exec", exec_wish).json["Id"]
        with api.wire() as wire:
            wire.ask("POST", f"/v1.51/exec/{exec_id}/start", begin)
            head = wire.head()
            return exec_id, head, wire.rest()

    say = {"Cmd": ["sh", "-c", "echo out; echo err >&2; exit 3"], "AttachStdout": True}
    exec_id, head, output = start({**say, "AttachStderr": True}, {})
    assert head.status == 200 and head.headers["content-type"] == FRAMES
    assert b"\1\0\0\0\0\0\0\4out\n" in output and b"\2\0\0\0\0\0\0\4err\n" in output
    ended = api("GET", f"/exec/{exec_id}/json").json
    assert (ended["ExitCode"], ended["Running"], ended["ContainerID"]) == (3, False, made)
    assert api("POST", f"/exec/{exec_id}/start", {}).status == 409
    # With a terminal or not is the exec's, framed or not is the start's.
    assert start({**say, "Tty": True}, {"Tty": True})[2] == b"out\r\nerr\r\n"
    framed = start({**say, "Tty": True}, {})[2]
    assert framed[:4] == b"\1\0\0\0" and framed.replace(framed[:8], b"")[:5] == b"out\r\n"
    # docker-py writes the name as it pleases, and the keys leave the exec running.
    wish = {"Cmd": ["cat"], "AttachStdin": True, "AttachStdout": True, "Tty": True}
    exec_id = api("POST", f"/containers/{made}/exec", {**wish, "detachKeys": "ctrl-a"}).json["Id"]
    with api.wire() as wire:
        wire.ask("POST", f"/v1.51/exec/{exec_id}/start", {"Tty": True}, **UPGRADE)
        assert wire.head().status == 101
        wire.send(b"x\n")
        wire.until(b"x\r\nx\r\n")
        wire.send(b"\x01")
        wire.rest()
    assert api("GET", f"/exec/{exec_id}/json").json["Running"]
    processes = api("GET", f"/containers/{made}/top?ps_args=-o%20pid,args").json["Processes"]
    assert any(row[-1] == "cat" for row in processes), processes
    bad = api("POST", f"/containers/{made}/exec", {**wish, "DetachKeys": "ctrl-"})
    assert bad.status == 400 and "detach keys" in bad.message


def test_input_that_stays_open_and_policies_that_start_again(api: Api) -> None:
    made = create(api, "stays", "cat", OpenStdin=True, StdinOnce=False)
    assert api("POST", f"/containers/{made}/start").status == 204
    for word in (b"one\n", b"two\n"):  # not the first client's end is the end of its input
        with api.wire() as wire:
            wire.ask(
                "POST", f"/v1.51/containers/{made}/attach?stream=1&stdin=1&stdout=1", **UPGRADE
            )
            assert wire.head().status == 101
            wire.send(word)
            assert wire.frame() == (1, word)
            wire.end()
    again = create(
        api, "again", "sh", "-c", "exit 5", HostConfig={"RestartPolicy": {"Name": "always"}}
    )
    with api.wire() as wire:
        wire.ask("POST", f"/v1.51/containers/{again}/wait")
        assert wire.head().status == 200
        # A container that was never started is not running.
        assert json.loads(wire.chunk())["StatusCode"] == 0
    assert api("POST", f"/containers/{again}/start").status == 204
    assert api("POST", f"/containers/{again}/wait").json["StatusCode"] == 5
    wait_until(
        lambda: api("GET", f"/containers/{again}/json").json["RestartCount"] > 0,
        30,
        what="the policy to start it again",
    )
    assert api("GET", f"/containers/{made}/json").json["State"]["Running"]


#: Facts about the API: what clients read without asking whether it is there. A number in the
#: path goes through a list.
SHAPES: dict[str, dict[str, type]] = {
    "/version": {
        "ApiVersion": str,
        "MinAPIVersion": str,
        "Version": str,
        "Os": str,
        "Arch": str,
        "KernelVersion": str,
        "Components.0.Name": str,
    },
    "/info": {
        "ID": str,
        "Containers": int,
        "Images": int,
        "Driver": str,
        "DriverStatus.0": list,
        "Plugins.Volume": list,
        "Plugins.Authorization": list,
        "MemTotal": int,
        "NCPU": int,
        "LoggingDriver": str,
        "CgroupVersion": str,
        "RegistryConfig.IndexConfigs": dict,
        "Runtimes.runc": dict,
        "Swarm.LocalNodeState": str,
        "SecurityOptions": list,
        "Warnings": list,
        "GenericResources": list,
    },
    "/containers/json?all=1&size=1": {
        "0.Id": str,
        "0.Names": list,
        "0.ImageID": str,
        "0.Command": str,
        "0.Created": int,
        "0.Ports.0.PrivatePort": int,
        "0.Ports.0.PublicPort": int,
        "0.Labels": dict,
        "0.State": str,
        "0.Status": str,
        "0.SizeRw": int,
        "0.SizeRootFs": int,
        "0.HostConfig.NetworkMode": str,
        "0.NetworkSettings.Networks.bridge.NetworkID": str,
        "0.NetworkSettings.Networks.bridge.Links": list,
        "0.Mounts.0.Destination": str,
    },
    "/containers/shaped/json": {
        "Id": str,
        "Created": str,
        "Path": str,
        "Args": list,
        "State.Pid": int,
        "State.ExitCode": int,
        "State.StartedAt": str,
        "State.Health.Log": list,
        "RestartCount": int,
        "HostConfig.PortBindings": dict,
        "HostConfig.RestartPolicy.Name": str,
        "HostConfig.LogConfig.Type": str,
        "HostConfig.Memory": int,
        "HostConfig.MaskedPaths": list,
        "HostConfig.Binds": list,
        "Config.Env": list,
        "Config.Labels": dict,
        "Config.Healthcheck.Interval": int,
        "NetworkSettings.Ports.80/tcp.0.HostPort": str,
        "NetworkSettings.Networks.bridge.IPAddress": str,
        "NetworkSettings.IPAddress": str,
        "Mounts.0.Type": str,
        "Mounts.0.RW": bool,
    },
    "/containers/shaped/top": {"Titles": list, "Processes.0.0": str},
    "/containers/shaped/stats?stream=0&one-shot=1": {
        "read": str,
        "preread": str,
        "cpu_stats.cpu_usage.total_usage": int,
        "cpu_stats.online_cpus": int,
        "memory_stats.usage": int,
        "memory_stats.limit": int,
        "pids_stats.current": int,
        "networks.eth0.rx_bytes": int,
    },
    "/images/json": {"0.Id": str, "0.RepoTags": list, "0.Labels": dict, "0.Size": int},
    "/images/stackctl/host/json": {
        "Id": str,
        "Created": str,
        "Os": str,
        "Architecture": str,
        "Config.Env": list,
        "RootFS.Layers": list,
        "GraphDriver.Name": str,
    },
    "/networks/bridge": {
        "Name": str,
        "Id": str,
        "Created": str,
        "Driver": str,
        "IPAM.Config.0.Subnet": str,
        "Containers": dict,
        "Options": dict,
        "Labels": dict,
        "Internal": bool,
        "EnableIPv6": bool,
    },
    "/volumes": {"Volumes.0.Name": str, "Volumes.0.Mountpoint": str, "Warnings": list},
    "/volumes/shaped": {"Driver": str, "Labels": dict, "Options": dict, "Scope": str},
    "/system/df": {
        "LayersSize": int,
        "Images.0.SharedSize": int,
        "Containers.0.SizeRw": int,
        "Volumes.0.UsageData.RefCount": int,
        "BuildCache": list,
    },
}


def test_answers_have_what_clients_read(api: Api) -> None:
    made = create(
        api,
        "shaped",
        "sleep",
        "100",
        ExposedPorts={"80/tcp": {}},
        Healthcheck={"Test": ["CMD", "true"]},
        HostConfig={"Binds": ["shaped:/data"], "PublishAllPorts": True},
    )
    assert api("POST", f"/containers/{made}/start").status == 204
    for path, fields in SHAPES.items():
        answer = api("GET", path)
        assert answer.status == 200 and answer.headers["content-type"] == "application/json"
        for place, kind in fields.items():
            value = answer.json
            for name in place.split("."):
                value = value[int(name)] if isinstance(value, list) else value[name]
            assert type(value) is kind, (path, place, value)
