"""What DNS can carry: names that containers answer to, domains to search, resolver options.

Pure questions that a stack file is asked when it is read, and a container and an endpoint
when they are made, whoever asks for them. Each `..._problem` gives what is wrong, as the end
of a sentence that begins with the value; "" is fine. Lengths are RFC 1035's (2.3.4);
characters are left to whoever asks, as long as they can stand in a line of resolv.conf.
"""

from __future__ import annotations

_LABEL, _NAME = 63, 253


def name_problem(name: str) -> str:
    """Of an alias, a link, a name in /etc/hosts. Underscores are fine, as in Docker."""
    if not name:
        return "is no name: it is empty"
    if _is_broken(name):
        return "cannot be a name: it holds a space or a character that does not print"
    labels = name.removesuffix(".").split(".")
    if not all(labels):
        return "cannot be a name: nothing stands between two dots, or before one"
    if any(len(label.encode()) > _LABEL for label in labels):
        return f"cannot be a name: DNS has at most {_LABEL} bytes between two dots"
    if len(name.encode()) > _NAME:
        return f"cannot be a name: DNS has names of at most {_NAME} bytes"
    return ""


def domain_problem(domain: str) -> str:
    """Of a domain to search; "." and "" mean none."""
    return "" if domain in ("", ".") else name_problem(domain).replace("a name", "a domain")


def resolver_option_problem(option: str) -> str:
    """Of one word behind `options` in resolv.conf(5); which there are is the resolver's to say."""
    if _is_broken(option):
        return "is no resolver option such as ndots:2: one entry is one option"
    return ""


def _is_broken(text: str) -> bool:
    return any(c.isspace() or not c.isprintable() for c in text)
