"""stackctl completion, and the commands that are refused with a reason."""

from __future__ import annotations

from typing import Annotated

import typer

from stackctl.cli import options
from stackctl.cli.invocation import invocation
from stackctl.cli.values import one_of
from stackctl.errors import UsageError

_BASH = r"""# bash completion of stackctl:  source <(stackctl completion bash)
_stackctl_names() { stackctl "${options[@]}" config "$1" 2>/dev/null; }
_stackctl() {
    local word="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
    local i command= groups="@GROUPS@" options=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "${COMP_WORDS[i]}" in
            -f|--file|-p|--project-name|--profile|--env-file|--project-directory)
                options+=("${COMP_WORDS[i]}" "${COMP_WORDS[i+1]}"); ((i++)) ;;
            --progress|--ansi|--host|--parallel) ((i++)) ;;
            -*) ;;
            *) command="${COMP_WORDS[i]}"; break ;;
        esac
    done
    case "$previous" in
        --profile)
            COMPREPLY=($(compgen -W "$(_stackctl_names --profiles)" -- "$word"))
            return ;;
        -f|--file|--env-file|--project-directory) COMPREPLY=($(compgen -f -- "$word")); return ;;
    esac
    if [[ -z "$command" ]]; then
        COMPREPLY=($(compgen -W "@COMMANDS@ @OPTIONS@" -- "$word"))
    elif [[ " $groups " == *" $command "* ]]; then
        case "$command" in
@GROUP_CASES@
        esac
    elif [[ "$word" != -* ]]; then
        COMPREPLY=($(compgen -W "$(_stackctl_names --services)" -- "$word"))
    fi
}
complete -F _stackctl stackctl
"""

_ZSH = r"""#compdef stackctl
# zsh completion of stackctl:  source <(stackctl completion zsh)
_stackctl() {
    local -a options
    local i command=
    for ((i = 2; i < CURRENT; i++)); do
        case "${words[i]}" in
            -f|--file|-p|--project-name|--profile|--env-file|--project-directory)
                options+=("${words[i]}" "${words[i+1]}"); ((i++)) ;;
            --progress|--ansi|--host|--parallel) ((i++)) ;;
            -*) ;;
            *) command="${words[i]}"; break ;;
        esac
    done
    case "${words[CURRENT-1]}" in
        --profile) compadd -- ${(f)"$(stackctl $options config --profiles 2>/dev/null)"}; return ;;
        -f|--file|--env-file|--project-directory) _files; return ;;
    esac
    if [[ -z "$command" ]]; then
        compadd -- @COMMANDS@ @OPTIONS@
        return
    fi
    case "$command" in
@ZSH_CASES@
        *) compadd -- ${(f)"$(stackctl $options config --services 2>/dev/null)"} ;;
    esac
}
compdef _stackctl stackctl
"""

_FISH = r"""# fish completion of stackctl:  stackctl completion fish | source
complete -c stackctl -f
complete -c stackctl -n __fish_use_subcommand -a "@COMMANDS@"
complete -c stackctl -l profile -x -a "(stackctl config --profiles 2>/dev/null)"
complete -c stackctl -s f -l file -r -F
complete -c stackctl -l env-file -r -F
@FISH_GROUPS@
complete -c stackctl -n "not __fish_use_subcommand; and not __fish_seen_subcommand_from @GROUPS@" \
    -a "(stackctl config --services 2>/dev/null)"
"""

_OPTIONS = (
    "--file --project-name --profile --env-file --project-directory --progress --ansi --dry-run "
    "--parallel --compatibility --host --help --version"
)


def completion(
    ctx: typer.Context,
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="Which shell.")],
) -> int:
    """Print a script that completes commands, services and profiles."""
    from stackctl.cli.table import COMMANDS, GROUPS

    one_of("the shell", shell, ("bash", "zsh", "fish"))
    below = {name: " ".join(group.commands) for name, group in GROUPS.items()}
    cases = (
        f'            {name}) COMPREPLY=($(compgen -W "{words}" -- "$word")) ;;'
        for name, words in below.items()
    )
    zsh = (f"        {name}) compadd -- {words} ;;" for name, words in below.items())
    fish = (
        f'complete -c stackctl -n "__fish_seen_subcommand_from {name}" -a "{words}"'
        for name, words in below.items()
    )
    text = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[shell]
    for mark, value in (
        ("@COMMANDS@", " ".join((*COMMANDS, *GROUPS))),
        ("@OPTIONS@", _OPTIONS),
        ("@GROUPS@", " ".join(GROUPS)),
        ("@GROUP_CASES@", "\n".join(cases)),
        ("@ZSH_CASES@", "\n".join(zsh)),
        ("@FISH_GROUPS@", "\n".join(fish)),
    ):
        text = text.replace(mark, value)
    invocation(ctx).console.stdout.write(text)
    return 0


def publish(
    ctx: typer.Context,
    repository: Annotated[str, typer.Argument(metavar="REPOSITORY[:TAG]", help="Where to.")] = "",
    app: Annotated[bool, typer.Option("--app", help="Refused.", hidden=True)] = False,
    oci_version: Annotated[str, typer.Option("--oci-version", help="Refused.", hidden=True)] = "",
    resolve_image_digests: Annotated[
        bool, typer.Option("--resolve-image-digests", help="Refused.", hidden=True)
    ] = False,
    with_env: Annotated[bool, typer.Option("--with-env", help="Refused.", hidden=True)] = False,
    yes: options.Yes = False,
) -> int:
    """Not done: a stack is shared as files (`config`), its images with `push`."""
    raise UsageError(
        "stack files are not published to registries",
        hint="share the output of `stackctl config`, and the images with `stackctl push`",
    )
