"""Carry out a verb that works through a plan, showing its progress; and the summary after it."""

from __future__ import annotations

from stackctl.cli.output.errors import place_text, print_warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from stackctl.cli.connection import Message
    from stackctl.cli.invocation import Invocation
    from stackctl.cli.output.board import Board
    from stackctl.cli.output.display import Display


def carry_out(run: Invocation, verb: str, body: Message, title: str) -> tuple[Message, Board]:
    """Send the verb, show what happens, give back the result. Raises what the engine raised."""
    # A build has a display of its own, and comes here for `watch` only.
    from stackctl.cli.output import chosen

    progress = chosen.progress(run.console, run.progress, title)
    goes_on = True

    def noted(stream: Iterable[Message]) -> Iterable[Message]:
        nonlocal goes_on
        for message in stream:
            # It waits for a file, and gives up with us.
            goes_on = not message.get("unbegun")
            yield message

    try:
        result = watch(run, noted(run.client.stream(verb, body)), progress)
    except KeyboardInterrupt:
        progress.close()
        if goes_on:
            run.console.say("interrupted; the engine goes on with what was asked")
        raise
    finally:
        progress.close()
    return result, progress.board


def rehearse(run: Invocation, verb: str, body: Message) -> int:
    """For --dry-run: print the plan of what `carry_out` would do, and do nothing. Always 0."""
    from stackctl.cli.commands.plan import show_plan

    show_plan(run, verb, body)
    return 0


def watch(run: Invocation, stream: Iterable[Message], progress: Display) -> Message:
    """Show every message until the result."""
    result: Message = {}
    for message in _paced(stream, progress):
        if message["type"] == "result":
            result = message
        else:
            show(run, progress, message)
    return result


def show(run: Invocation, progress: Display, message: Message) -> None:
    """A plan, step, status or warning on the display; others are no business of a display."""
    if message["type"] == "warning":
        text, place = str(message.get("text", "")), place_text(message.get("place"))
        progress.above(lambda: print_warning(run.console, text, place))
    else:
        progress.show(message)


def _paced(stream: Iterable[Message], progress: Display) -> Iterable[Message]:
    """The messages; the display ticks in between if it moves by itself."""
    if progress.pace is None:
        yield from stream
        return
    # Threads only for a live view: a log needs none.
    from stackctl.cli.feed import Ended, Feed, Said

    feed = Feed()
    feed.add("", stream)
    while True:
        match feed.next(progress.pace):
            case None:
                progress.tick()
            case Said(message=message):
                yield message
            case Ended(error=error):
                if error is not None:
                    raise error
                return
