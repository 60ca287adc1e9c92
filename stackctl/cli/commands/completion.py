"""stackctl completion, and the commands that are refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from stackctl.cli import options
from stackctl.cli.invocation import invocation
from stackctl.cli.values import one_of
from stackctl.errors import UsageError

_BASH = r"""# bash completion of stackctl:  source <(stackctl completion bash)
_stackctl_names() { stackctl "${options[@]}" config "$1" 2>/dev/null; }
@FLAGS@
_stackctl() {
    local word="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
    local i values command= below= groups=" @GROUPS@ " options=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "${COMP_WORDS[i]}" in
            -f|--file|-p|--project-name|--profile|--env-file|--project-directory)
                options+=("${COMP_WORDS[i]}" "${COMP_WORDS[i+1]}"); ((i++)) ;;
            --progress|--ansi|--host|-H|--context|-c|--parallel|--tls*) ((i++)) ;;
            -*) ;;
            *)
                command="${COMP_WORDS[i]}"
                if [[ "$groups" == *" $command "* ]] && ((i + 1 < COMP_CWORD)); then
                    below=" ${COMP_WORDS[i+1]}"
                fi
                break ;;
        esac
    done
    # Behind the service of exec and run is what the container has.
    if [[ "$command" == exec || "$command" == run ]]; then
        for ((i++; i < COMP_CWORD; i++)); do
            case "${COMP_WORDS[i]}" in
                -*=*) ;;
                -*) _stackctl_values "$command ${COMP_WORDS[i]}" >/dev/null && ((i++)) ;;
                *) return 0 ;;
            esac
        done
    fi
    # Behind the command -f is another flag: that of logs and rm.
    case "$command$previous" in
        --profile)
            COMPREPLY=($(compgen -W "$(_stackctl_names --profiles)" -- "$word"))
            return ;;
        -p|--project-name)
            COMPREPLY=($(compgen -W "$(stackctl ls --all -q 2>/dev/null)" -- "$word"))
            return ;;
        -f|--file|--env-file|--project-directory) COMPREPLY=($(compgen -f -- "$word")); return ;;
    esac
    if [[ "$previous" == -* ]] && values=$(_stackctl_values "$command$below $previous"); then
        [[ "$values" == services ]] && values=$(_stackctl_names --services)
        if [[ -n "$values" ]]; then COMPREPLY=($(compgen -W "$values" -- "$word"))
        else COMPREPLY=($(compgen -f -- "$word")); fi
        return
    fi
    if [[ -z "$command" ]]; then
        COMPREPLY=($(compgen -W "@COMMANDS@ @OPTIONS@" -- "$word"))
    elif [[ "$word" == -* ]]; then
        COMPREPLY=($(compgen -W "$(_stackctl_flags "$command$below")" -- "$word"))
    elif [[ "$groups" == *" $command "* ]]; then
        if [[ -z "$below" ]]; then
            case "$command" in
@GROUP_CASES@
            esac
        fi
    elif [[ "$command" == completion ]]; then
        COMPREPLY=($(compgen -W "bash zsh fish" -- "$word"))
    else
        # Naming a service switches it on: those of all profiles are offered.
        options+=(--profile '*')
        COMPREPLY=($(compgen -W "$(_stackctl_names --services)" -- "$word"))
    fi
}
complete -F _stackctl stackctl
"""

_ZSH = r"""#compdef stackctl
# zsh completion of stackctl:  source <(stackctl completion zsh)
@FLAGS@
_stackctl() {
    local -a options
    local i values command= below= groups=" @GROUPS@ "
    for ((i = 2; i < CURRENT; i++)); do
        case "${words[i]}" in
            -f|--file|-p|--project-name|--profile|--env-file|--project-directory)
                options+=("${words[i]}" "${words[i+1]}"); ((i++)) ;;
            --progress|--ansi|--host|-H|--context|-c|--parallel|--tls*) ((i++)) ;;
            -*) ;;
            *)
                command="${words[i]}"
                if [[ "$groups" == *" $command "* ]] && ((i + 1 < CURRENT)); then
                    below=" ${words[i+1]}"
                fi
                break ;;
        esac
    done
    # Behind the service of exec and run is what the container has.
    if [[ "$command" == exec || "$command" == run ]]; then
        for ((i++; i < CURRENT; i++)); do
            case "${words[i]}" in
                -*=*) ;;
                -*) _stackctl_values "$command ${words[i]}" >/dev/null && ((i++)) ;;
                *) return 0 ;;
            esac
        done
    fi
    case "$command${words[CURRENT-1]}" in
        --profile) compadd -- ${(f)"$(stackctl $options config --profiles 2>/dev/null)"}; return ;;
        -p|--project-name) compadd -- ${(f)"$(stackctl ls --all -q 2>/dev/null)"}; return ;;
        -f|--file|--env-file|--project-directory) _files; return ;;
    esac
    if [[ "${words[CURRENT-1]}" == -* ]] &&
        values=$(_stackctl_values "$command$below ${words[CURRENT-1]}"); then
        [[ "$values" == services ]] &&
            values=$(stackctl $options config --services 2>/dev/null)
        if [[ -n "$values" ]]; then compadd -- ${=values}; else _files; fi
        return
    fi
    if [[ -z "$command" ]]; then
        compadd -- @COMMANDS@ @OPTIONS@
        return
    fi
    if [[ "${words[CURRENT]}" == -* ]]; then
        compadd -- ${=$(_stackctl_flags "$command$below")}
        return
    fi
    if [[ -n "$below" ]]; then
        _files
        return
    fi
    case "$command" in
@ZSH_CASES@
        completion) compadd -- bash zsh fish ;;
        *) compadd -- ${(f)"$(stackctl $options --profile '*' config --services 2>/dev/null)"} ;;
    esac
}
compdef _stackctl stackctl
"""

_FISH = r"""# fish completion of stackctl:  stackctl completion fish | source
# The command of the line so far, and the word below it if it has some.
function __stackctl_command
    set -l words (commandline -opc)
    set -l i 2
    while test $i -le (count $words)
        switch $words[$i]
            case @VALUED@
                set i (math $i + 2)
            case '-*'
                set i (math $i + 1)
            case @GROUP_WORDS@
                string join ' ' $words[$i] $words[(math $i + 1)]
                return
            case '*'
                echo $words[$i]
                return
        end
    end
end
function __stackctl_is
    set -l command (__stackctl_command)
    test "$command" = "$argv[1]"
end
function __stackctl_names
    # The files and profiles of the line so far are those that are asked.
    set -l words (commandline -opc)
    set -l options
    set -l i 2
    while test $i -le (count $words)
        switch $words[$i]
            case -f --file -p --project-name --profile --env-file --project-directory
                test $i -lt (count $words); and set -a options $words[$i] $words[(math $i + 1)]
                set i (math $i + 2)
            case @VALUED@
                set i (math $i + 2)
            case '-*'
                set i (math $i + 1)
            case '*'
                break
        end
    end
    # Naming a service switches it on: those of all profiles are offered.
    test "$argv[1]" = --services; and set -a options --profile '*'
    stackctl $options config $argv[1] 2>/dev/null
end
function __stackctl_flags
    switch (__stackctl_command)
@FISH_FLAGS@
    end
end
# What may follow a flag of a command; fails where that takes no value.
function __stackctl_values_of
    switch "$argv"
@FISH_VALUES@
        case '*'
            return 1
    end
end
# The same of the flag before the cursor.
function __stackctl_values
    set -l words (commandline -opc)
    set -l command (__stackctl_command)
    __stackctl_values_of "$command" $words[-1]
end
# Behind the service of exec and run is what the container has.
function __stackctl_is_inside
    set -l command (__stackctl_command)
    contains -- "$command" exec run; or return 1
    set -l words (commandline -opc)
    set -l i (math (contains -i -- $command $words) + 1)
    while test $i -le (count $words)
        switch $words[$i]
            case '-*=*'
            case '-*'
                __stackctl_values_of $command $words[$i] >/dev/null; and set i (math $i + 1)
            case '*'
                return 0
        end
        set i (math $i + 1)
    end
    return 1
end
function __stackctl_has_value
    __stackctl_values >/dev/null
end
function __stackctl_wants_service
    not __stackctl_has_value
    and not __stackctl_is_inside
    and not __stackctl_is completion
    and not string match -qr '^$|^(@GROUP_PATTERN@)( |$)' -- (__stackctl_command)
end
complete -c stackctl -f
complete -c stackctl -n "__stackctl_is ''; and not __stackctl_has_value" -a "@COMMANDS@"
complete -c stackctl -n "__stackctl_is ''" -l profile -x -a "(__stackctl_names --profiles)"
complete -c stackctl -n "__stackctl_is ''" -s f -l file -r -F
complete -c stackctl -n "__stackctl_is ''" -l env-file -r -F
complete -c stackctl -n "__stackctl_is ''" -l project-directory -r -F
complete -c stackctl -n "__stackctl_is ''" -s p -l project-name -x \
    -a "(stackctl ls --all -q 2>/dev/null)"
@FISH_OPTIONS@
@FISH_GROUPS@
complete -c stackctl -a "(__stackctl_flags)" \
    -n "not __stackctl_is_inside; and string match -q -- '-*' (commandline -ct)"
complete -c stackctl -n __stackctl_has_value -a "(__stackctl_values)"
complete -c stackctl -n "__stackctl_is completion" -a "bash zsh fish"
complete -c stackctl -n __stackctl_wants_service -a "(__stackctl_names --services)"
"""

_OPTIONS = (
    "--file --project-name --profile --env-file --project-directory --progress --ansi --dry-run "
    "--parallel --compatibility --host --help --version"
)
#: Those of which fish is told more.
_TOLD = ("--file", "--project-name", "--profile", "--env-file", "--project-directory")
#: Options before the command that have a value.
_VALUED = (
    *("-f", "-p", *_TOLD, "--progress", "--ansi", "--host", "-H", "--context", "-c"),
    *("--parallel", "--tlscacert", "--tlscert", "--tlskey"),
)


#: What flags take, where it is one of a few words; of all commands, or of one. "services" are
#: those of the stack.
_WORDS = {
    "--ansi": "auto always never",
    "--for": "up down",
    "--format": "table json",
    "--policy": "missing always",
    "--progress": "auto tty plain json quiet",
    "--protocol": "tcp udp",
    "--pull": "always missing never build policy",
    "--restart": "no always on-failure unless-stopped",
    "--rmi": "local all",
    "config --format": "yaml json",
    "config --hash": "services",
    "container create --pull": "always missing never",
    "container run --pull": "always missing never",
    **{f"up {flag}": "services" for flag in ("--attach", "--no-attach", "--exit-code-from")},
    "info --format": "text json",
    "net graph --format": "text dot svg",
    "version --format": "text json",
}


def completion(
    ctx: typer.Context,
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="Which shell.")],
) -> int:
    """Print a script that completes commands, services and profiles."""
    from stackctl.cli.table import COMMANDS, GROUPS

    one_of("the shell", shell, ("bash", "zsh", "fish"))
    below = {name: " ".join(group.commands) for name, group in GROUPS.items()}
    flags, values = _flags(), _values()
    cases = (
        f'                {name}) COMPREPLY=($(compgen -W "{words}" -- "$word")) ;;'
        for name, words in below.items()
    )
    zsh = (f"        {name}) compadd -- {words} ;;" for name, words in below.items())
    fish = (
        f'complete -c stackctl -n "__stackctl_is {name}" -a "{words}"'
        for name, words in below.items()
    )
    fish_options = (
        f"complete -c stackctl -n \"__stackctl_is ''\" -l {flag[2:]}"
        for flag in _OPTIONS.split()
        if flag not in _TOLD
    )
    fish_flags = (
        f'        case "{name}"\n            string split " " -- "{" ".join(found)}"'
        for name, found in flags.items()
    )
    text = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[shell]
    for mark, value in (
        ("@COMMANDS@", " ".join((*COMMANDS, *GROUPS))),
        ("@OPTIONS@", _OPTIONS),
        ("@GROUPS@", " ".join(GROUPS)),
        ("@GROUP_CASES@", "\n".join(cases)),
        ("@ZSH_CASES@", "\n".join(zsh)),
        ("@FISH_GROUPS@", "\n".join(fish)),
        ("@FISH_OPTIONS@", "\n".join(fish_options)),
        ("@FISH_FLAGS@", "\n".join(fish_flags)),
        ("@VALUED@", " ".join(_VALUED)),
        ("@GROUP_WORDS@", " ".join(GROUPS)),
        ("@GROUP_PATTERN@", "|".join(GROUPS)),
        ("@FLAGS@", f"{_flags_function(flags)}\n{_values_function(values)}"),
        ("@FISH_VALUES@", _fish_values(values)),
    ):
        text = text.replace(mark, value)
    invocation(ctx).console.stdout.write(text)
    return 0


def _flags() -> dict[str, tuple[str, ...]]:
    """The long options of each command ("up", "volume ls")."""
    from stackctl.cli.grammar import TABLE

    table = json.loads(Path(TABLE).read_bytes())
    return {
        name: (*(option for option in command["options"] if option.startswith("--")), "--help")
        for name, command in table.items()
        if name and isinstance(command, dict)
    }


def _flags_function(flags: Mapping[str, Sequence[str]]) -> str:
    """A function of bash and zsh that prints them."""
    cases = (f'        "{name}") echo "{" ".join(found)}" ;;' for name, found in flags.items())
    return "\n".join(("_stackctl_flags() {", '    case "$1" in', *cases, "    esac", "}"))


def _values() -> dict[str, list[str]]:
    """The flags that have a value ("plan --for"), by what it can be; "" is anything."""
    from stackctl.cli.grammar import TABLE

    table = json.loads(Path(TABLE).read_bytes())
    found: dict[str, list[str]] = {}
    for name, command in table.items():
        options = command["options"].items() if isinstance(command, dict) else ()
        for flag, (_, kind) in options:
            if kind not in ("yes", "no"):
                words = _WORDS.get(f"{name} {flag}") or _WORDS.get(flag, "")
                found.setdefault(words, []).append(f"{name} {flag}")
    return found


def _values_function(values: Mapping[str, Sequence[str]]) -> str:
    """A function of bash and zsh that prints what may follow a flag; fails where nothing does."""
    cases = (
        f"        {'|'.join(json.dumps(flag) for flag in flags)}) echo {json.dumps(words)} ;;"
        for words, flags in values.items()
    )
    return "\n".join(
        (
            "_stackctl_values() {",
            '    case "$1" in',
            *cases,
            "        *) return 1 ;;",
            "    esac",
            "}",
        )
    )


def _fish_values(values: Mapping[str, Sequence[str]]) -> str:
    lines = []
    for words, flags in values.items():
        said = f'string split " " -- {json.dumps(words)}' if words else "true"
        said = "__stackctl_names --services" if words == "services" else said
        lines += [f"        case {' '.join(map(json.dumps, flags))}", f"            {said}"]
    return "\n".join(lines)


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
