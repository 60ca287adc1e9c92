"""The Dockerfile language: what each instruction becomes, and how mistakes are told."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackctl.errors import DockerfileErrors
from stackctl.image.build import instructions as ins
from stackctl.image.build.expansion import WordError, expand, expand_words
from stackctl.image.build.parse import parse, trigger


def one(text: str, *, escape: str = "") -> ins.StageInstruction:
    """The only instruction after FROM."""
    head = f"# escape={escape}\n" if escape else ""
    return parse(f"{head}FROM scratch\n{text}".encode()).stages[0].instructions[0]


def mistakes(text: str) -> list[str]:
    with pytest.raises(DockerfileErrors) as caught:
        parse(text.encode(), "Dockerfile")
    return [str(e) for e in caught.value.errors]


# -- lines


def test_comments_and_empty_lines_within_an_instruction_are_skipped() -> None:
    run = one("RUN a \\\n# not this\n  # nor this\n\n  b \\\n  c")
    assert isinstance(run, ins.Run)
    assert run.command == ins.ShellForm("a   b   c")
    assert (run.first, run.last) == (2, 7)


def test_an_escaped_backslash_at_the_end_does_not_continue() -> None:
    stage = parse(b"FROM scratch\nENV a=b\\\\\nUSER x\n").stages[0]
    assert [type(i) for i in stage.instructions] == [ins.Env, ins.User]


def test_the_escape_directive_changes_the_continuation() -> None:
    assert one("COPY a `\n C:\\b", escape="`").sources == ("a",)  # type: ignore[union-attr]


def test_directives_count_only_at_the_top() -> None:
    file = parse(b"# Escape = `\n# syntax=docker/dockerfile:1\nFROM a\nRUN b `\n c\n")
    assert file.escape == "`"
    file = parse(b"# a comment\n# escape=`\nFROM a\n")
    assert file.escape == "\\"
    assert mistakes("# escape=`\n# escape=`\nFROM a") == [
        "Dockerfile:2: only one escape directive can be used"
    ]
    assert "escape character" in mistakes("# escape=x\nFROM a")[0]


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm() -> None:
    file = parse(b"\xef\xbb\xbfFROM a\r\nRUN b \\\r\n c\r\nRUN <<E\r\nx\r\nE\r\n")
    first, second = file.stages[0].instructions
    assert isinstance(first, ins.Run) and first.command == ins.ShellForm("b  c")
    assert isinstance(second, ins.Run) and isinstance(second.command, ins.ShellForm)
    assert second.command.heredocs[0].content == "x\r\n"


# -- here-documents


def test_heredocs_several_quoted_and_chomped() -> None:
    copy = one('COPY <<a <<-"b" 3<<c /d/\n$x\na\n\t$y\n\tb\nz\nc\n')
    assert isinstance(copy, ins.Copy)
    names = [(h.name, h.content, h.expand, h.chomp, h.descriptor) for h in copy.heredocs]
    assert names == [
        ("a", "$x\n", True, False, 0),
        ("b", "\t$y\n", False, True, 0),
        ("c", "z\n", True, False, 3),
    ]
    assert copy.sources == () and copy.destination == "/d/"


def test_the_body_of_a_heredoc_is_no_instruction() -> None:
    stage = parse(b"FROM a\nRUN <<E cat\nFROM b\nE\nUSER u\n").stages
    assert len(stage) == 1
    assert [type(i) for i in stage[0].instructions] == [ins.Run, ins.User]


def test_json_and_other_instructions_have_no_heredocs() -> None:
    assert one('RUN ["echo", "<<E"]').command == ins.ExecForm(("echo", "<<E"))  # type: ignore[union-attr]
    assert isinstance(one("CMD echo <<E"), ins.Cmd)


def test_a_heredoc_without_end_is_told_with_its_line() -> None:
    assert mistakes("FROM a\n\nRUN <<E\nx\n") == [
        "Dockerfile:3: the here-document 'E' is not ended"
    ]


def test_onbuild_keeps_the_body_for_later() -> None:
    made = one("ONBUILD COPY <<E /x\nhello\nE")
    assert isinstance(made, ins.OnBuild)
    inner = trigger(made.trigger, "Dockerfile", 1)
    assert isinstance(inner, ins.Copy) and inner.heredocs[0].content == "hello\n"


# -- instructions


@pytest.mark.parametrize(
    ("text", "image", "name", "platform"),
    [
        ("FROM a:1", "a:1", "", ""),
        ("from a As Base", "a", "base", ""),
        ("FROM --platform=$BUILDPLATFORM a AS b.c-d_1", "a", "b.c-d_1", "$BUILDPLATFORM"),
    ],
)
def test_from(text: str, image: str, name: str, platform: str) -> None:
    begin = parse(text.encode()).stages[0].begin
    assert (begin.image, begin.name, begin.platform) == (image, name, platform)


def test_arguments_before_from_are_global() -> None:
    file = parse(b"ARG a b=1\nARG c=$b\nFROM x\nARG a\n")
    assert [a.pairs for a in file.arguments] == [(("a", None), ("b", "1")), (("c", "$b"),)]
    assert file.stages[0].instructions[0].pairs == (("a", None),)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("a=1 b='x y' c=x\\ y", (("a", "1"), ("b", "'x y'"), ("c", "x\\ y"))),
        ("a  two words ", (("a", "two words"),)),
        ('a="b=c d"', (("a", '"b=c d"'),)),
        ("a=", (("a", ""),)),
    ],
)
def test_env_and_label_pairs(text: str, pairs: ins.Pairs) -> None:
    for word in ("ENV", "LABEL"):
        assert one(f"{word} {text}").pairs == pairs  # type: ignore[union-attr]


def test_copy_flags() -> None:
    copy = one(
        "COPY --from=build --chown=a:b --chmod=u=rw,go=r --link --parents --exclude=*.o "
        "--exclude=x a b /c/"
    )
    assert isinstance(copy, ins.Copy)
    assert copy.sources == ("a", "b") and copy.destination == "/c/"
    assert (copy.from_, copy.chown, copy.chmod) == ("build", "a:b", "u=rw,go=r")
    assert (copy.link, copy.parents, copy.exclude) == (True, True, ("*.o", "x"))
    assert one('COPY ["a b", "c"]').sources == ("a b",)  # type: ignore[union-attr]


def test_add_flags() -> None:
    digest = "sha256:" + "a" * 64
    add = one(f"ADD --checksum={digest} --keep-git-dir=true --unpack=false http://h/f /x")
    assert isinstance(add, ins.Copy) and add.add
    assert (add.checksum, add.keep_git_dir, add.unpack) == (digest, True, False)


def test_run_mounts() -> None:
    run = one(
        "RUN --mount=type=cache,target=/c,id=x,sharing=locked,mode=0755 --mount=target=/s,rw "
        "--mount=type=secret,id=k,required --network=none --security=insecure make"
    )
    assert isinstance(run, ins.Run)
    assert [(m.type, dict(m.values)) for m in run.mounts] == [
        ("cache", {"target": "/c", "id": "x", "sharing": "locked", "mode": "0755"}),
        ("bind", {"target": "/s", "readonly": "false"}),
        ("secret", {"id": "k", "required": "true"}),
    ]
    assert (run.network, run.security) == ("none", "insecure")
    assert run.command == ins.ShellForm("make")


def test_json_and_shell_forms() -> None:
    assert one('CMD [ "a", "b c" ]').command == ins.ExecForm(("a", "b c"))  # type: ignore[union-attr]
    assert one("CMD [ 'a' ]").command == ins.ShellForm("[ 'a' ]")  # type: ignore[union-attr]
    assert one("ENTRYPOINT []").command == ins.ExecForm(())  # type: ignore[union-attr]
    assert one('RUN ["a"] && b').command == ins.ShellForm('["a"] && b')  # type: ignore[union-attr]
    assert one('SHELL ["/bin/bash", "-c"]').argv == ("/bin/bash", "-c")  # type: ignore[union-attr]


def test_health_check() -> None:
    check = one("HEALTHCHECK --interval=1m30s --timeout=500ms --retries=2 CMD curl -f http://x")
    assert isinstance(check, ins.HealthCheck)
    assert check.test == ("CMD-SHELL", "curl -f http://x")
    assert (check.interval, check.timeout, check.retries) == (90.0, 0.5, 2)
    assert one('HEALTHCHECK CMD ["a"]').test == ("CMD", "a")  # type: ignore[union-attr]
    assert one("HEALTHCHECK none").test == ("NONE",)  # type: ignore[union-attr]


def test_the_rest() -> None:
    assert one("EXPOSE 80 53/udp $P").ports == ("80", "53/udp", "$P")  # type: ignore[union-attr]
    assert one('VOLUME ["/a b"]').paths == ("/a b",)  # type: ignore[union-attr]
    assert one("VOLUME /a /b").paths == ("/a", "/b")  # type: ignore[union-attr]
    assert one("WORKDIR /a b").path == "/a b"  # type: ignore[union-attr]
    assert one("USER 1:2").user == "1:2"  # type: ignore[union-attr]
    assert one("STOPSIGNAL SIGQUIT").signal == "SIGQUIT"  # type: ignore[union-attr]
    assert one("MAINTAINER A B <c@d>").author == "A B <c@d>"  # type: ignore[union-attr]


# -- mistakes


def test_all_mistakes_are_told_in_order_with_lines() -> None:
    assert mistakes("RUN a\nFROM x\nCOPPY a b\nCOPY a\nEXPOSE 99999\nCMD [1]\nENV a=1 b\n") == [
        "Dockerfile:1: RUN comes before the first FROM",
        "Dockerfile:3: unknown instruction COPPY",
        "Dockerfile:4: COPY needs at least one source, and a destination",
        "Dockerfile:5: '99999' is not a port",
        "Dockerfile:6: every element of the JSON form must be a string",
        "Dockerfile:7: 'b' is not of the form name=value",
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "cannot be empty"),
        ("ARG a=1", "no FROM"),
        ("FROM", "needs something"),
        ("FROM a b", "FROM takes an image"),
        ("FROM a AS 1x", "not a name for a stage"),
        ("FROM --platfrom=x a", "unknown flag --platfrom"),
        ("FROM a\nCOPY --from a b", "--from needs a value"),
        ("FROM a\nCOPY --link=maybe a b", "--link is true or false"),
        ("FROM a\nCOPY --chmod=rwx a b", "is not a mode"),
        ("FROM a\nCOPY --chown=a --chown=b a b", "--chown is given twice"),
        ("FROM a\nCOPY a b c", "several sources need a directory"),
        ("FROM a\nADD --checksum=md5:1 a b", "--checksum is sha256:"),
        ("FROM a\nRUN", "needs something"),
        ("FROM a\nRUN --mount=type=chache,target=/x a", "there is no type 'chache'"),
        ("FROM a\nRUN --mount=type=cache a", "needs a target"),
        ("FROM a\nRUN --mount=type=tmpfs,target=/x,id=y a", "has no key 'id'"),
        ("FROM a\nRUN --network=bridge a", "--network is default, none or host"),
        ("FROM a\nSHELL /bin/sh", "SHELL takes the JSON form"),
        ("FROM a\nONBUILD FROM b", "ONBUILD FROM is not allowed"),
        ("FROM a\nONBUILD ONBUILD RUN b", "ONBUILD ONBUILD is not allowed"),
        ("FROM a\nONBUILD COPY b", "at least one source"),
        ("FROM a\nHEALTHCHECK curl", "takes NONE or CMD"),
        ("FROM a\nHEALTHCHECK --interval=5 CMD a", "is not a duration"),
        ("FROM a\nENV =x", "no name before ="),
        ("FROM a\nENV a", "has no value"),
        ("FROM a\nENV a='x", "a single quote is not closed"),
        ("FROM a\nUSER ${x", "'}' is missing"),
        ("FROM a\nWORKDIR ${x:=y}", "unsupported modifier (:=)"),
        ("FROM a\nARG 1a", "is not a name for an argument"),
    ],
)
def test_mistakes(text: str, part: str) -> None:
    found = mistakes(text)
    assert len(found) == 1 and part in found[0]


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(DockerfileErrors) as caught:
        parse(b"FROM a\nRUN \xff\n")
    assert str(caught.value) == "Dockerfile:2: the file is not UTF-8 text"
    with pytest.raises(DockerfileErrors):
        parse(b"FROM a\nRUN \0\n")


_TEXT = """FROM a AS b RUN COPY ADD --from=x --mount=type=cache,target=/x <<E <<-'E' E [ ] " ' \\ `
$ ${ } ${a:-b} ${a#*} :- // ENV LABEL ARG x=y ONBUILD HEALTHCHECK CMD NONE EXPOSE 80 VOLUME SHELL"""
_WORDS = st.sampled_from([*_TEXT.split(), "\n", "\n\n", "\t", "# escape=`", '["a"]', "é"])


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(), st.lists(_WORDS).map(lambda w: " ".join(w).encode())))
def test_any_bytes_give_a_file_or_its_mistakes(content: bytes) -> None:
    try:
        file = parse(content)
    except DockerfileErrors as error:
        assert error.errors and all(e.place is not None for e in error.errors)
    else:
        assert file.stages


# -- expansion

_VARIABLES = {"x": "abcabc", "empty": "", "s": "one two"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$x${x}", "abcabcabcabc"),
        ("$x_", ""),
        ("a$", "a$"),
        ("\\$x", "$x"),
        ("'$x'", "$x"),
        ('"$x \\" \\$ \\n"', 'abcabc " $ \\n'),
        ("${no:-d}${no-d}${empty:-d}${empty-d}", "ddd"),
        ("${x:+w}${x+w}${empty:+w}${empty+w}${no+w}", "www"),
        ("${no:-${x}}", "abcabc"),
        ("${no:-'$x'}", "$x"),
        ("${x:?}${empty?}", "abcabc"),
        ("${x#a*c}", "abc"),
        ("${x##a*c}", ""),
        ("${x%b*c}", "abca"),
        ("${x%%b*c}", "a"),
        ("${x#z}${x%z}", "abcabcabcabc"),
        ("${x/b/X}", "aXcabc"),
        ("${x//b/X}", "aXcaXc"),
        ("${x//b?/}", "aa"),
        ("${x//\\*/X}", "abcabc"),
        ("${no#a}", ""),
        ("$1$@x", "x"),
    ],
)
def test_expansion(text: str, value: str) -> None:
    assert expand(text, _VARIABLES) == value


def test_words_split_what_is_not_quoted() -> None:
    assert expand_words("$s \"$s\" a\\ b ''", _VARIABLES) == ("one", "two", "one two", "a b", "")


@pytest.mark.parametrize("text", ["${no:?say why}", "${empty:?}", "${no?}", "${", "${}", "${x:"])
def test_words_that_cannot_be(text: str) -> None:
    with pytest.raises(WordError):
        expand(text, _VARIABLES)


def test_growth_and_depth_are_bounded() -> None:
    with pytest.raises(WordError):
        expand("$x" * 3000, {"x": "y" * 1000})
    with pytest.raises(WordError):
        expand("${a:-" * 100 + "}" * 100, {})
    # Backtracking would take for ever here.
    assert expand("${x##" + "*a" * 30 + "*b}", {"x": "a" * 2000}) == "a" * 2000


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab$ {}'\"\\:-+?#%/*x", max_size=40))
def test_any_word_expands_or_is_refused(text: str) -> None:
    try:
        assert isinstance(expand(text, _VARIABLES), str)
    except WordError:
        pass
