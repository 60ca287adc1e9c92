"""Options, markers and fixtures for all tests.

- `@pytest.mark.needs("netns", ...)`: skipped where the machine lacks a power;
  with --no-skips (CI) a lack is a failure.
- `@pytest.mark.on_disk`: its engines' directories are on a disk, not in memory.
- `engine`: an engine of the test's own (directories, command line); the test
  fails when something with that engine's tag is left in the kernel afterwards.
- `engine_dirs`: the same engine's Paths, for tests that drive no command line.
- `engines`: makes further engines, for tests of several side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from stackctl.state.paths import Paths
from support import powers
from support.engine import Engine, new_engine

#: Whether the test's own body failed: then what it left is a consequence, not a finding.
FAILED = pytest.StashKey[bool]()

# On a busy machine examples come slowly; and fixtures of one test are meant for all its examples.
settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skips",
        action="store_true",
        help="a power that the machine lacks is a failure, and so is any other skip",
    )
    parser.addoption(
        "--cycles",
        type=int,
        default=100,
        help="how many times the soak test brings its stack up and down",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        missing = list(powers.lacks(marker.args))
        if missing:
            message = "this machine lacks " + "; ".join(missing)
            if item.config.getoption("--no-skips"):
                pytest.fail(message, pytrace=False)
            pytest.skip(message)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """With --no-skips no test may hide behind a skip of its own."""
    report = yield
    if call.when == "call" and report.failed:
        item.stash[FAILED] = True
    if report.skipped and item.config.getoption("--no-skips") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and --no-skips is set: {report.longrepr}"
    return report


@pytest.fixture
def engines(request: pytest.FixtureRequest) -> Iterator[Callable[[], Engine]]:
    """Makes engines; at the end each must have left the kernel as it was.

    After a test that failed anyway the remains are taken away without a word.
    """
    made: list[Engine] = []

    def make() -> Engine:
        on_disk = request.node.get_closest_marker("on_disk") is not None
        made.append(new_engine(request.node.name, on_disk=on_disk))
        return made[-1]

    yield make
    left = [text for one in made if (text := one.close())]
    failed = request.node.stash.get(FAILED, False)
    assert failed or not left, "left behind by this test:\n" + "\n".join(left)


@pytest.fixture
def engine(engines: Callable[[], Engine]) -> Engine:
    """An engine of the test's own: directories, command line, and nothing left afterwards."""
    return engines()


@pytest.fixture
def engine_dirs(engine: Engine) -> Paths:
    """Where the engine of this test keeps its things (see `engine`)."""
    return engine.paths
