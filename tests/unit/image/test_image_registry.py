"""The registry client against a registry that misbehaves, and credentials that stay at home."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from stackctl.errors import ImageError, NotFound, NotPermitted
from stackctl.image.registry.credentials import Credentials, Keyring
from stackctl.image.registry.http import Http, Pauses, Unreachable
from stackctl.image.registry.login import login, logout
from stackctl.image.registry.look import tags
from stackctl.image.registry.manifest import Manifest, Platform, choose
from stackctl.image.registry.manifest import parse as parse_manifest
from stackctl.image.registry.pull import Pulled, Puller
from stackctl.image.registry.settings import Settings
from stackctl.image.store import Store
from stackctl.model.reference import parse
from stackctl.state.paths import Paths
from support.registries import (
    INDEX,
    FakeRegistry,
    Request,
    answer,
    break_off,
    digest,
    fake_registry,
)
from support.tars import directory, entry, tar

LAYER = tar(directory("etc"), entry("etc/name", b"app\n"))
BIG = tar(entry("big", os.urandom(3 << 20)))


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with fake_registry() as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Paths(tmp_path / "root", tmp_path / "run"))


class Bed:
    """Pulls into a store; pauses are noted, not taken."""

    def __init__(self, store: Store, home: Path, **environment: str) -> None:
        self.store = store
        self.home = home
        self.environment = {"HOME": str(home), **environment}
        self.pauses: list[float] = []

    def pull(self, name: str, platform: Platform | None = None) -> Pulled:
        def sleep(seconds: float) -> bool:
            self.pauses.append(seconds)
            return False

        settings = Settings.of(self.environment)
        puller = Puller(self.store, settings, Keyring(self.environment), Pauses(sleep))
        return puller.pull(parse(name), platform=platform)


@pytest.fixture
def bed(store: Store, tmp_path: Path) -> Bed:
    return Bed(store, tmp_path / "home")


def root_of(store: Store, pulled: Pulled) -> list[Path]:
    return [Path(path) for path in store.ensure_unpacked(pulled.image.id)]


def test_tags_are_listed_page_after_page(registry: FakeRegistry, bed: Bed) -> None:
    reference = parse(f"{registry.address}/app")
    following = {
        "n=1000": ("a b", "?last=b"),
        "?last=b": ("c", "?last=c"),
        "?last=c": ("", "?last=c"),
    }

    def meddle(handler: BaseHTTPRequestHandler, request: Request) -> bool:
        [(names, link)] = [v for k, v in following.items() if request.path.endswith(k)]
        raw = json.dumps({"name": "app", "tags": names.split()}).encode()
        answer(handler, 200, raw, {"Link": f'</v2/app/tags/list{link}>; rel="next"'})
        return True

    registry.meddle = meddle
    assert tags(bed.environment, reference) == ["a", "b", "c"]
    registry.meddle = lambda handler, request: (
        answer(handler, 200, b'{"tags":["a"]}', {"Link": "<http://127.0.0.1:1/>; rel=next"}) is None
    )
    with pytest.raises(ImageError, match="on another host"):
        tags(bed.environment, reference)
    registry.meddle = lambda handler, request: answer(handler, 200, b'{"tags":[1]}') is None
    with pytest.raises(ImageError, match="in a form"):
        tags(bed.environment, reference)


def test_pull(registry: FakeRegistry, bed: Bed) -> None:
    found = registry.add_image(LAYER, BIG, Cmd=["sh"], Env=["A=b", "HOSTS_VALUE"])
    pulled = bed.pull(registry.name())
    assert pulled.digest == found and pulled.changed
    assert pulled.image.config.command == ("sh",)
    # Without "=" it would be the host's value.
    assert pulled.image.config.env == ("A=b",)
    assert (root_of(bed.store, pulled)[1] / "etc/name").read_text() == "app\n"
    assert not bed.pull(registry.name()).changed
    assert len(registry.asked("GET", "/blobs/")) == 3


def test_a_broken_download_goes_on_where_it_was(registry: FakeRegistry, bed: Bed) -> None:
    registry.add_image(BIG)
    broken = 0

    def meddle(handler: BaseHTTPRequestHandler, request: Request) -> bool:
        nonlocal broken
        raw = registry.content.get(request.path, (b"", ""))[0]
        if len(raw) > 1 << 20 and not broken:
            broken = 1_500_000
            break_off(handler, raw, broken)
            return True
        return False

    registry.meddle = meddle
    pulled = bed.pull(registry.name())
    assert (root_of(bed.store, pulled)[0] / "big").stat().st_size == 3 << 20
    ranges = [r.headers["range"] for r in registry.asked("GET", "/blobs/") if "range" in r.headers]
    assert len(ranges) == 1 and 0 < int(ranges[0][6:-1]) <= broken


def test_the_next_pull_takes_up_what_a_killed_one_left(registry: FakeRegistry, bed: Bed) -> None:
    registry.add_image(BIG)
    path, raw = max(
        ((p, c[0]) for p, c in registry.content.items() if "/blobs/" in p), key=lambda x: len(x[1])
    )
    bed.store.blobs.part(path.rpartition("/")[2]).write_bytes(raw[:2_000_000])
    bed.store.sweep()
    pulled = bed.pull(registry.name())
    assert (root_of(bed.store, pulled)[0] / "big").stat().st_size == 3 << 20
    (request,) = registry.asked("GET", path)
    assert request.headers["range"] == "bytes=2000000-"


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_registry_is_asked_again_when_it_says(
    registry: FakeRegistry, bed: Bed, status: int
) -> None:
    registry.add_image(LAYER)
    refused: list[str] = []

    def meddle(handler: BaseHTTPRequestHandler, request: Request) -> bool:
        if len(refused) < 2:
            refused.append(request.path)
            answer(handler, status, b"", {"Retry-After": "7"})
            return True
        return False

    registry.meddle = meddle
    assert bed.pull(registry.name()).changed
    assert bed.pauses == [7.0, 7.0]


def test_one_that_stays_broken_is_given_up(registry: FakeRegistry, bed: Bed) -> None:
    def meddle(handler: BaseHTTPRequestHandler, request: Request) -> bool:
        answer(handler, 500)
        return True

    registry.meddle = meddle
    with pytest.raises(Unreachable, match="500"):
        bed.pull(registry.name())
    assert bed.pauses == sorted(bed.pauses) and 2 < len(bed.pauses) < 10


def test_content_that_is_not_what_it_should_be(registry: FakeRegistry, bed: Bed) -> None:
    registry.add_image(BIG)
    for path, (raw, kind) in registry.content.items():
        if len(raw) > 1 << 20:
            registry.content[path] = (raw[:-1] + b"!", kind)
    with pytest.raises(ImageError):
        bed.pull(registry.name())
    assert not bed.store.images() and not list(bed.store.blobs.all())
    assert not any(name.startswith(".") for name in os.listdir(bed.store.unpacked._home))


def test_a_layer_that_is_not_the_configs_is_not_published(registry: FakeRegistry, bed: Bed) -> None:
    registry.add_image(LAYER)
    other = tar(entry("evil", b"x"))
    for path, (raw, kind) in list(registry.content.items()):
        if kind.endswith("manifest.v1+json"):
            document = json.loads(raw)
            from support.tars import gz

            document["layers"][0] |= registry.add_blob(gz(other))
            registry.add_manifest(document, "1")
        assert path
    with pytest.raises(ImageError, match="config says"):
        bed.pull(registry.name())
    assert not bed.store.unpacked.usage()


def test_a_hostile_layer_is_refused_and_nothing_of_it_stays(
    registry: FakeRegistry, bed: Bed
) -> None:
    registry.add_image(LAYER, tar(entry("../../escaped", b"x")))
    with pytest.raises(ImageError, match="lead out"):
        bed.pull(registry.name())
    assert not bed.store.images()
    assert len(bed.store.unpacked.usage()) <= 1


def test_platforms(registry: FakeRegistry, bed: Bed) -> None:
    entries = []
    for architecture in ("arm64", "amd64", "s390x"):
        found = registry.add_image(tar(entry(architecture)), tag=architecture)
        raw = registry.content[f"/v2/app/manifests/{found}"][0]
        platform = {"os": "linux", "architecture": architecture}
        entries.append({"digest": found, "size": len(raw), "platform": platform})
    registry.add_manifest({"schemaVersion": 2, "manifests": entries}, "all", INDEX)
    for name in ("s390x", "arm64"):
        pulled = bed.pull(registry.name("all"), Platform.parse(f"linux/{name}"))
        assert os.listdir(root_of(bed.store, pulled)[0]) == [name]
    with pytest.raises(NotFound, match="riscv64"):
        bed.pull(registry.name("all"), Platform.parse("riscv64"))
    # One manifest alone: what its config says counts, and what is here is no excuse.
    assert bed.pull(registry.name("arm64")).changed
    bed.pull(registry.name("arm64"), Platform.parse("amd64"))
    with pytest.raises(NotFound, match="s390x"):
        bed.pull(registry.name("arm64"), Platform.parse("s390x"))


@pytest.mark.parametrize(
    "document",
    [
        {"schemaVersion": 2, "layers": [], "config": {}, "manifests": []},
        {"schemaVersion": 1, "fsLayers": []},
        {"schemaVersion": 2, "mediaType": INDEX, "layers": [], "config": {}},
        {"schemaVersion": 2, "config": {"digest": "sha256:../../x", "size": 1}, "layers": []},
        {"schemaVersion": 2, "config": {"digest": digest(b""), "size": -1}, "layers": []},
        {"schemaVersion": 2, "manifests": "all"},
        [],
    ],
)
def test_ambiguous_and_malformed_manifests_are_refused(document: object) -> None:
    with pytest.raises(ImageError):
        parse_manifest(json.dumps(document).encode())


def test_a_variant_is_preferred() -> None:
    entries = []
    for variant in ("v6", "v7"):
        size = {"digest": digest(variant.encode()), "size": 1}
        platform = {"os": "linux", "architecture": "arm", "variant": variant}
        entries.append({**size, "platform": platform})
    found = parse_manifest(json.dumps({"manifests": entries}).encode())
    assert not isinstance(found, Manifest)
    assert choose(found, Platform.parse("linux/arm/v7")).digest == digest(b"v7")


class TestCredentials:
    def guarded(self, registry: FakeRegistry, realm: str) -> None:
        """The registry asks for a token from `realm`, which is itself if that is a path."""

        def meddle(handler: BaseHTTPRequestHandler, request: Request) -> bool:
            if request.path.startswith("/token"):
                answer(handler, 200, json.dumps({"token": "t0ken"}).encode())
                return True
            if request.headers.get("authorization") != "Bearer t0ken":
                where = realm if "//" in realm else f"http://{registry.address}{realm}"
                ask = f'Bearer realm="{where}",service="reg"'
                answer(handler, 401, b"", {"WWW-Authenticate": ask})
                return True
            return False

        registry.meddle = meddle

    def log_in(self, bed: Bed, registry: FakeRegistry) -> str:
        Keyring(bed.environment).put(
            registry.address, Credentials(username="me", password="pass:word")
        )
        return "Basic " + base64.b64encode(b"me:pass:word").decode()

    def test_a_token_with_credentials(self, registry: FakeRegistry, bed: Bed) -> None:
        registry.add_image(LAYER)
        self.guarded(registry, "/token")
        secret = self.log_in(bed, registry)
        assert bed.pull(registry.name()).changed
        asked = registry.asked("GET", "/token")
        assert len(asked) == 1
        assert asked[0].headers["authorization"] == secret
        assert "scope=repository%3Aapp%3Apull" in asked[0].path

    def test_a_token_without(self, registry: FakeRegistry, bed: Bed) -> None:
        registry.add_image(LAYER)
        self.guarded(registry, "/token")
        assert bed.pull(registry.name()).changed
        assert "authorization" not in registry.asked("GET", "/token")[0].headers

    def test_a_realm_elsewhere_without_tls_gets_nothing(
        self, registry: FakeRegistry, bed: Bed
    ) -> None:
        registry.add_image(LAYER)
        self.guarded(registry, "http://thief.invalid/token")
        self.log_in(bed, registry)
        with pytest.raises(ImageError, match="credentials"):
            bed.pull(registry.name())

    def test_basic(self, registry: FakeRegistry, bed: Bed) -> None:
        registry.add_image(LAYER)

        def meddle(handler: BaseHTTPRequestHandler, request: Request) -> bool:
            if request.headers.get("authorization") == secret:
                return False
            answer(handler, 401, b"", {"WWW-Authenticate": 'Basic realm="x"'})
            return True

        secret = ""
        registry.meddle = meddle
        with pytest.raises(NotPermitted):
            bed.pull(registry.name())
        secret = self.log_in(bed, registry)
        assert bed.pull(registry.name()).changed

    def test_a_redirect_to_another_host_gets_no_secret(
        self, registry: FakeRegistry, bed: Bed
    ) -> None:
        registry.add_image(LAYER)
        secret = self.log_in(bed, registry)
        with fake_registry() as other:
            other.content = registry.content

            def meddle(handler: BaseHTTPRequestHandler, request: Request) -> bool:
                if request.headers.get("authorization") != secret:
                    answer(handler, 401, b"", {"WWW-Authenticate": "Basic"})
                    return True
                if "/blobs/" in request.path:
                    where = f"http://{other.address}{request.path}"
                    answer(handler, 307, b"", {"Location": where})
                    return True
                return False

            registry.meddle = meddle
            assert bed.pull(registry.name()).changed
            assert len(other.requests) == 2
            assert not any("authorization" in r.headers for r in other.requests)

    def test_the_file_is_dockers_and_private(self, bed: Bed) -> None:
        bed.home.mkdir()
        (bed.home / ".docker").mkdir()
        file = bed.home / ".docker/config.json"
        file.write_text(json.dumps({"HttpHeaders": {"A": "b"}}))
        keyring = Keyring(bed.environment)
        keyring.put("reg.test", Credentials(username="me", password="p"))
        raw = json.loads(file.read_text())
        assert raw["auths"]["reg.test"]["auth"] == base64.b64encode(b"me:p").decode()
        assert raw["HttpHeaders"] == {"A": "b"}
        assert file.stat().st_mode & 0o077 == 0
        found = keyring.get("reg.test")
        assert found is not None and (found.username, found.password) == ("me", "p")
        assert keyring.drop("reg.test") and keyring.get("reg.test") is None

    def test_a_helper_keeps_them(self, bed: Bed, tmp_path: Path) -> None:
        helper = tmp_path / "bin/docker-credential-box"
        helper.parent.mkdir()
        helper.write_text(
            '#!/bin/sh\nbox="$HOME/box"\ncase $1 in\n'
            'store) cat >"$box";;\nerase) rm "$box";;\n'
            'get) [ -e "$box" ] || { echo "credentials not found in native keychain"; exit 1; }\n'
            ' cat "$box";;\nesac\n'
        )
        helper.chmod(0o755)
        (bed.home / ".docker").mkdir(parents=True)
        file = bed.home / ".docker/config.json"
        file.write_text('{"credsStore": "box"}')
        keyring = Keyring({**bed.environment, "PATH": f"{helper.parent}:/usr/bin:/bin"})
        assert keyring.get("reg.test") is None
        keyring.put("reg.test", Credentials(username="me", password="secret"))
        assert "secret" not in file.read_text()
        found = keyring.get("reg.test")
        assert found is not None and found.password == "secret"
        assert keyring.drop("reg.test") and keyring.get("reg.test") is None


class TestTls:
    @pytest.fixture
    def secured(self, tmp_path: Path) -> Iterator[FakeRegistry]:
        """With a certificate that only its own CA vouches for (tmp_path/ca.crt)."""
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=reg"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1"]
        command += ["-keyout", f"{tmp_path}/key", "-out", f"{tmp_path}/ca.crt"]
        subprocess.run(command, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "ca.crt", tmp_path / "key")
        with fake_registry(context) as made:
            made.add_image(LAYER)
            yield made

    def settings(self, tmp_path: Path) -> Settings:
        return Settings(certificates=(str(tmp_path / "certs.d"),))

    def ask(self, registry: FakeRegistry, settings: Settings) -> int:
        http = Http(settings, Pauses(lambda seconds: False))
        with http.request("GET", f"https://{registry.address}/v2/app/manifests/1") as answer:
            return answer.status

    def test_an_unknown_certificate_is_refused(self, secured: FakeRegistry, tmp_path: Path) -> None:
        with pytest.raises(Unreachable, match="certificate is not accepted"):
            self.ask(secured, self.settings(tmp_path))
        assert not secured.requests

    def test_an_own_ca(self, secured: FakeRegistry, tmp_path: Path) -> None:
        place = tmp_path / "certs.d" / secured.address
        place.mkdir(parents=True)
        (tmp_path / "ca.crt").rename(place / "ca.crt")
        assert self.ask(secured, self.settings(tmp_path)) == 200

    def test_an_insecure_registry_may_have_any(self, secured: FakeRegistry, bed: Bed) -> None:
        assert bed.pull(secured.name()).changed

    def test_no_way_down_from_https(
        self, secured: FakeRegistry, registry: FakeRegistry, bed: Bed
    ) -> None:
        registry.content = dict(secured.content)

        def meddle(handler: BaseHTTPRequestHandler, request: Request) -> bool:
            if "/blobs/" not in request.path:
                return False
            where = f"http://{registry.address}{request.path}"
            answer(handler, 307, b"", {"Location": where})
            return True

        secured.meddle = meddle
        with pytest.raises(Unreachable, match="https to http"):
            bed.pull(secured.name())
        assert not registry.requests


def test_logging_in_asks_the_registry_first(registry: FakeRegistry, bed: Bed) -> None:
    right = "Basic " + base64.b64encode(b"me:right").decode()

    def meddle(handler: BaseHTTPRequestHandler, request: Request) -> bool:
        if request.headers.get("authorization") == right:
            answer(handler, 200, b"{}")
        else:
            answer(handler, 401, b"", {"WWW-Authenticate": 'Basic realm="x"'})
        return True

    registry.meddle = meddle
    with pytest.raises(NotPermitted):
        login(bed.environment, registry.address, "me", "wrong")
    assert Keyring(bed.environment).get(registry.address) is None
    login(bed.environment, f"http://{registry.address}/v2/", "me", "right")
    found = Keyring(bed.environment).get(registry.address)
    assert found is not None and found.password == "right"
    assert logout(bed.environment, registry.address)
    assert not logout(bed.environment, registry.address)


def test_mirrors_come_first_and_may_fail(registry: FakeRegistry, bed: Bed) -> None:
    registry.add_image(LAYER)
    with fake_registry() as mirror:
        bed.environment["STACKCTL_REGISTRY_MIRRORS"] = f"{registry.address}=http://{mirror.address}"
        assert bed.pull(registry.name()).changed
        assert mirror.requests and registry.asked("GET", "/blobs/")
        mirror.content = dict(registry.content)
        count = len(registry.requests)
        other = Bed(Store(Paths(bed.home / "r2", bed.home / "x")), bed.home, **bed.environment)
        assert other.pull(registry.name()).changed
        assert len(registry.requests) == count


def test_the_default_registrys_names() -> None:
    domain = parse("nginx").domain
    (endpoint,) = Settings().endpoints(domain)
    assert endpoint.scheme == "https" and endpoint.verify
    assert endpoint.host.endswith("." + domain)
    assert [e.scheme for e in Settings().endpoints("127.0.0.1:5000")] == ["https", "http"]
    assert [e.scheme for e in Settings().endpoints("reg.test")] == ["https"]
    networks = Settings(insecure=("10.1.0.0/16",))
    assert networks.is_insecure("10.1.2.3:5000") and not networks.is_insecure("10.2.0.1")
