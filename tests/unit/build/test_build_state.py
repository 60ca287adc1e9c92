"""Stage graphs, what instructions do to a config, and the cache's files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from stackctl.errors import DockerfileError
from stackctl.image.build import cache, graph, saved
from stackctl.image.build import instructions as ins
from stackctl.image.build.graph import FromContext, FromImage, FromNothing, FromStage
from stackctl.image.build.parse import parse
from stackctl.image.build.settings import Expander, Settings, absolute, configure, declare
from stackctl.image.content import Layer
from stackctl.image.store import Store
from stackctl.state.paths import Paths

OURS = {"BUILDPLATFORM": "linux/amd64", "TARGETARCH": "amd64"}


def of(
    text: str, target: str = "", contexts: frozenset[str] = frozenset(), **arguments: str
) -> graph.Graph:
    file = parse(text.encode())
    return graph.graph(file, target=target, arguments=arguments, platform=OURS, contexts=contexts)


def test_only_what_the_target_needs() -> None:
    text = (
        "FROM a AS one\nFROM b AS two\nFROM c AS three\nCOPY --from=one /x /x\n"
        "FROM three\nRUN --mount=from=1,target=/m true\n"
    )
    assert of(text).needed == (0, 1, 2, 3)
    assert of(text, "three").needed == (0, 2)
    assert of(text, "TWO").needed == (1,)
    assert of(text, "0").needed == (0,)


def test_what_bases_mean() -> None:
    text = (
        "ARG B=img\nARG T\nFROM $B:${T:-1} AS x\nFROM x AS y\nFROM scratch\nCOPY --from=y / /\n"
        "COPY --from=ctx / /\nCOPY --from=other/image / /\n"
    )
    found = of(text, contexts=frozenset(("ctx",)))
    assert found.bases == {0: FromImage("img:1"), 1: FromStage(0), 2: FromNothing()}
    assert of(text, T="9", contexts=frozenset(("ctx",))).bases[0] == FromImage("img:9")
    file = parse(text.encode())
    copies = file.stages[2].instructions
    origins = [
        graph.origin(file, 2, n, c, frozenset(("ctx",))) for c in copies for n in graph.names(c)
    ]
    assert origins == [FromStage(1), FromContext("ctx"), FromImage("other/image")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("FROM $NO", "the name of the base is empty"),
        ("FROM --platform=linux/s390x a", "builds for linux/amd64 only"),
        ("FROM a AS me\nCOPY --from=me / /", "takes files from itself"),
        ("FROM a\nCOPY --from=0 / /", "there is no stage 0 before"),
        ("FROM a\nCOPY --from=$x / /", "a variable cannot choose"),
        ("ARG a=${b:?needed}\nFROM $a", "needed"),
    ],
)
def test_graphs_that_cannot_be(text: str, words: str) -> None:
    with pytest.raises(DockerfileError, match=words.replace("$", "\\$")):
        of(text)


def after(text: str, **given: str) -> Settings:
    """The settings of a stage of metadata instructions."""
    settings = Settings(config={"Env": ["PATH=/bin"], "Cmd": ["base"]})
    for instruction in parse(f"FROM a\n{text}".encode()).stages[0].instructions:
        expander = Expander(settings, "Dockerfile", instruction.first, "\\")
        if isinstance(instruction, ins.Arg):
            declare(settings, instruction, given, {"OUTER": "o"}, expander)
        else:
            assert not isinstance(instruction, ins.Copy | ins.Run | ins.Workdir)
            configure(settings, instruction, expander)
    return settings


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("ENV A=1 B=$A\nENV A=2", "Env", ["PATH=/bin", "A=2", "B="]),
        ("ENV PATH=/x:$PATH", "Env", ["PATH=/x:/bin"]),
        ("LABEL a=1\nLABEL a=2 b='3 4'", "Labels", {"a": "2", "b": "3 4"}),
        ("CMD a b", "Cmd", ["/bin/sh", "-c", "a b"]),
        ('SHELL ["/s"]\nCMD a', "Cmd", ["/s", "a"]),
        ('ENTRYPOINT ["e"]', "Cmd", None),
        ('CMD ["c"]\nENTRYPOINT ["e"]', "Cmd", ["c"]),
        ("EXPOSE 80 81-82/udp", "ExposedPorts", {"80/tcp": {}, "81/udp": {}, "82/udp": {}}),
        ("ARG v=/x\nVOLUME $v", "Volumes", {"/x": {}}),
        ("USER a:b", "User", "a:b"),
        ("STOPSIGNAL TERM", "StopSignal", "TERM"),
        (
            "HEALTHCHECK --interval=2s CMD x",
            "Healthcheck",
            {"Test": ["CMD-SHELL", "x"], "Interval": 2 * 10**9},
        ),
        ("ONBUILD RUN x", "OnBuild", ["RUN x"]),
    ],
)
def test_what_instructions_do(text: str, key: str, value: Any) -> None:
    assert after(text).config.get(key) == value


def test_arguments_and_their_scopes() -> None:
    assert after("ARG a=1 b=$a\nARG c", c="3").arguments == {"a": "1", "b": "", "c": "3"}
    assert after("ARG OUTER\nARG NONE").arguments == {"OUTER": "o"}
    assert after("ARG a=1\nENV a=2\nLABEL x=$a").config["Labels"] == {"x": "2"}
    assert after("ARG a=1\nARG b=$a").arguments["b"] == "1"


@pytest.mark.parametrize("text", ["STOPSIGNAL NOPE", "ARG p=x\nEXPOSE $p", "VOLUME $no"])
def test_values_that_cannot_be(text: str) -> None:
    with pytest.raises(DockerfileError, match="Dockerfile:"):
        after(text)


def test_paths_stay_below_the_root() -> None:
    assert absolute("/w", "../../x") == "/x"
    assert absolute("/w", "/a/./b/../c") == "/a/c"


# -- the cache


def test_entries_hold_as_long_as_their_layer(tmp_path: Path) -> None:
    store = Store(Paths(tmp_path / "root", tmp_path / "run"))
    kept = cache.Cache(tmp_path / "cache", store)
    blob = store.put_blob(io.BytesIO(b"layer"))
    layer = Layer(digest=blob.digest, diff_id=blob.digest, size=blob.size)
    key = cache.key(a=1, b=["x"])
    assert key == cache.key(b=("x",), a=1) != cache.key(a=1, b=["y"])
    assert kept.find(key) is None
    kept.put(key, cache.Entry(layer, 7.0))
    assert kept.find(key) == cache.Entry(layer, 7.0)
    assert kept.layers() == {blob.digest}
    elsewhere = saved.Directory(tmp_path / "saved")
    elsewhere.save(kept.entries([key, "0" * 64]), store)
    store.blobs.remove(blob.digest)
    assert kept.find(key) is None
    assert kept.find(key, [elsewhere]) == cache.Entry(layer, 7.0)
    (tmp_path / "cache" / f"{key}.json").write_text("{")
    assert kept.find(key) is None
    kept.prune()
    assert kept.layers() == set()


def test_steps_without_a_change_are_remembered_too(tmp_path: Path) -> None:
    kept = cache.Cache(tmp_path / "c", Store(Paths(tmp_path / "root", tmp_path / "run")))
    kept.put("k", cache.Entry(None, 3.0))
    assert kept.find("k") == cache.Entry(None, 3.0)
