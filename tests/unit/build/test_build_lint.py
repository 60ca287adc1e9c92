"""BuildKit's checks: each rule with a file that breaks it and one that nearly does."""

from __future__ import annotations

import pytest

from stackctl.errors import DockerfileErrors
from stackctl.image.build import graph
from stackctl.image.build.lint import Around, Base, lint
from stackctl.image.build.parse import parse

OURS = {"TARGETPLATFORM": "linux/amd64", "BUILDPLATFORM": "linux/amd64", "TARGETARCH": "amd64"}
IMAGES = {
    "shelly": Base(variables=frozenset(("PATH", "VERSION")), has_shell=True),
    "plain": Base(variables=frozenset(("PATH",))),
}


def findings(text: str, *stages: int, ignored: str = "") -> list[tuple[int, str, str]]:
    file = parse(text.encode())
    arguments = {"BASE": "plain"}
    found = graph.graph(file, target="", arguments=arguments, platform=OURS, contexts=frozenset())
    around = Around(
        platform=OURS,
        origin=lambda index: graph.base(file, index, found, frozenset()),
        image=lambda reference: IMAGES.get(reference, Base()),
        is_ignored=lambda path: path == ignored,
    )
    return [tuple(each) for each in lint(file, stages or range(len(file.stages)), around)]


def rules(text: str, *stages: int, ignored: str = "") -> list[tuple[int, str]]:
    return [(line, rule) for line, rule, _ in findings(text, *stages, ignored=ignored)]


@pytest.mark.parametrize(
    ("rule", "line", "bad", "good"),
    [
        ("StageNameCasing", 1, "FROM plain AS Base", "FROM plain AS base"),
        ("FromAsCasing", 1, "FROM plain as base", "FROM --platform=$BUILDPLATFORM plain AS base"),
        ("FromAsCasing", 1, "from plain AS base", "from plain as base"),
        ("NoEmptyContinuation", 2, "FROM plain\nRUN a \\\n\n b", "FROM plain\nRUN a \\\n# c\n b"),
        ("ConsistentInstructionCasing", 3, "FROM plain\nRUN a\nrun b", "from plain\nrun a\nrun b"),
        ("ConsistentInstructionCasing", 2, "FROM plain\nRun a", "FROM plain\nRUN a"),
        (
            "DuplicateStageName",
            2,
            "FROM plain AS a\nFROM plain AS a",
            "FROM plain AS a\nFROM plain AS b",
        ),
        ("ReservedStageName", 1, "FROM plain AS context", "FROM plain AS contexts"),
        ("JSONArgsRecommended", 2, "FROM plain\nCMD a", 'FROM plain\nCMD ["a"]'),
        ("JSONArgsRecommended", 2, "FROM plain\nENTRYPOINT a", "FROM shelly\nENTRYPOINT a"),
        ("JSONArgsRecommended", 2, "FROM plain\nCMD a", 'FROM plain\nSHELL ["sh"]\nCMD a'),
        ("MaintainerDeprecated", 2, "FROM plain\nMAINTAINER me", "FROM plain\nLABEL author=me"),
        ("UndefinedArgInFrom", 1, "FROM plain:${V:-1}$W", "ARG W=1\nFROM plain:${V:-1}$W"),
        ("WorkdirRelativePath", 2, "FROM plain\nWORKDIR a", "FROM plain\nWORKDIR /a\nWORKDIR b"),
        ("UndefinedVar", 2, "FROM plain\nCOPY $f /", "FROM plain\nARG f\nCOPY $f ${g:-x} /"),
        ("UndefinedVar", 2, "FROM plain\nENV A=1 B=$A", "FROM plain\nENV A=1\nENV B=$A${A%1}"),
        ("UndefinedVar", 2, "FROM plain\nLABEL a=${b#c}", "FROM unknown\nLABEL a=$b"),
        ("UndefinedVar", 2, "FROM scratch\nWORKDIR /$NO", "FROM scratch\nENV PATH=/x:$PATH"),
        ("UndefinedVar", 2, "FROM plain\nENV A=$VERSION", "FROM shelly\nENV A=$VERSION"),
        (
            "MultipleInstructionsDisallowed",
            2,
            'FROM plain\nCMD ["a"]\nCMD ["b"]',
            'FROM plain\nCMD ["a"]\nFROM plain\nCMD ["b"]',
        ),
        ("LegacyKeyValueFormat", 2, "FROM plain\nENV a b=c", "FROM plain\nENV a=b"),
        ("LegacyKeyValueFormat", 2, "FROM plain\nLABEL a b", "FROM plain\nLABEL a='b c'"),
        (
            "RedundantTargetPlatform",
            1,
            "FROM --platform=${TARGETPLATFORM} plain",
            "FROM --platform=$BUILDPLATFORM plain",
        ),
        (
            "FromPlatformFlagConstDisallowed",
            1,
            "FROM --platform=linux/amd64 plain AS x",
            "FROM --platform=linux/amd64 plain AS x_amd64",
        ),
        ("SecretsUsedInArgOrEnv", 2, "FROM plain\nARG API_TOKEN", "FROM plain\nARG TOKENS"),
        ("SecretsUsedInArgOrEnv", 2, "FROM plain\nENV KEY=1", "FROM plain\nENV PUBLIC_KEY=1"),
        ("InvalidDefaultArgInFrom", 2, "ARG BASE\nFROM $BASE", "ARG BASE=plain\nFROM $BASE"),
        ("ExposeProtoCasing", 2, "FROM plain\nEXPOSE 80/TCP", "FROM plain\nEXPOSE 80/tcp"),
        ("ExposeInvalidFormat", 2, "FROM plain\nEXPOSE 127.0.0.1:80:80", "FROM plain\nEXPOSE 80"),
        ("ExposeInvalidFormat", 2, "FROM plain\nEXPOSE [::1]:80:80", "FROM plain\nEXPOSE 1-2/udp"),
        ("CopyIgnoredFile", 2, "FROM plain\nCOPY no /", "FROM plain\nCOPY --from=shelly no /"),
    ],
)
def test_each_rule(rule: str, line: int, bad: str, good: str) -> None:
    assert (line, rule) in rules(bad, ignored="no")
    assert not rules(good, ignored="no")


def test_what_findings_say() -> None:
    found = findings("FROM plain\nENV A=$PAHT\nFROM a:$TGA\n")
    assert [text for *_, text in found if "did you mean" in text] == [
        "Usage of undefined variable '$PAHT' (did you mean $PATH?)"
    ]
    assert findings("ARG TAG=1\nFROM a:$TGA")[0] == (
        *(2, "UndefinedArgInFrom"),
        "FROM argument 'TGA' is not declared (did you mean TAG?)",
    )


def test_a_stage_goes_on_where_its_base_ended() -> None:
    text = (
        'FROM plain AS a\nARG X\nWORKDIR /w\nSHELL ["sh"]\nCMD x\n'
        "FROM a\nENV Y=$X\nWORKDIR z\nCMD y\nENV Z=$NO\n"
    )
    assert rules(text) == [(10, "UndefinedVar")]
    # A stage that is not asked for is followed, and says nothing.
    text = text.replace("ARG X", "ARG X=$MISSING")
    assert rules(text) == [(2, "UndefinedVar"), (10, "UndefinedVar")]
    assert rules(text, 1) == [(10, "UndefinedVar")]


def test_the_file_says_which_rules_count() -> None:
    text = "FROM plain AS A\nCMD a\n"
    assert len(rules(text)) == 2
    assert rules(f"# check=skip=jsonargsrecommended, Other\n{text}") == [(2, "StageNameCasing")]
    assert rules(f"# check=skip=all\n{text}") == []
    assert parse(f"# check=error=true;skip=all\n{text}".encode()).checks.strict
    described = "# base is it\nFROM plain AS base\n# what\nARG x\n\n# apart\n\nARG y\n"
    assert rules(described) == []
    for wish in ("all", "InvalidDefinitionDescription"):
        found = rules(f"# check=experimental={wish}\n{described}")
        assert found == [(5, "InvalidDefinitionDescription")]
    for wrong in ("skip", "error=perhaps", "other=1"):
        with pytest.raises(DockerfileErrors, match="Dockerfile:1"):
            parse(f"# check={wrong}\n{text}".encode())
