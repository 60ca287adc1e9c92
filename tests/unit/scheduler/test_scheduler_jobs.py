"""One-shot jobs, those whose successful end others wait for: when `up` runs them again."""

from __future__ import annotations

from dataclasses import replace

from stackctl.scheduler.desired import UpPolicy
from stackctl.scheduler.plan import notices, up_plan
from stackctl.scheduler.show import render
from stackctl.testing.engine import MemoryEngine
from stackctl.testing.stacks import depends, ends, service, stack
from support.plans import UP, running, settles, shown, up


def test_a_job_that_ended_well_is_not_run_again_and_opens_its_gate():
    desired = stack(
        service("migrate", argv=ends(0)),
        service("web", depends("migrate", "completed_successfully")),
    )
    engine = running(desired)
    engine.end("p-web-1", 1)
    assert shown(engine, desired) == ["[] -> #1 start container p-web-1: exited (1)"]
    assert notices(desired, engine.observed("p"), UP) == (
        "p-migrate-1 ended with 0 and is unchanged: not run again",
    )


def test_a_job_is_run_again_for_a_database_that_is_new():
    def wanted(**changes):
        return stack(
            service("db", **changes),
            service("migrate", depends("db"), argv=ends(0)),
            service("seed", depends("migrate", "completed_successfully"), argv=ends(0)),
            service("web", depends("seed", "completed_successfully")),
        )

    engine = running(wanted())
    assert shown(engine, wanted()) == []
    lines = shown(engine, wanted(image="other"))
    starts = [line.partition("start container ")[2] for line in lines]
    assert [text for text in starts if "ended" in text] == [
        "p-migrate-1: ended with 0, but db is started",
        "p-seed-1: ended with 0, but migrate is started",
    ]
    settles(engine, wanted(image="other"))
    # The database alone: the next `up` has not forgotten.
    up(engine, wanted(image="third"), UpPolicy(services=("db",)))
    again = [line for line in shown(engine, wanted(image="third")) if "ended" in line]
    assert again[0].endswith("start container p-migrate-1: ended with 0, but db was made since")
    settles(engine, wanted(image="third"))


def test_a_job_is_run_again_when_files_that_it_mounts_have_changed():
    desired = stack(
        service("migrate", argv=ends(0)),
        service("web", depends("migrate", "completed_successfully")),
    )
    engine = running(desired)
    observed = engine.observed("p")
    job = next(r for r in observed.containers if r.config.service == "migrate")
    observed = replace(observed, changed_files={job.id: "/m/2.sql has changed since"})
    assert render(up_plan(desired, observed, UP)).splitlines() == [
        "[] -> #1 start container p-migrate-1: ended with 0, but /m/2.sql has changed since"
    ]


def test_a_job_that_failed_is_run_again_and_waited_for():
    engine = MemoryEngine()
    failing = stack(
        service("migrate", argv=ends(3)),
        service("web", depends("migrate", "completed_successfully")),
    )
    report = up(engine, failing)
    assert not report.ok
    assert shown(engine, failing) == [
        "[] -> #1 start container p-migrate-1: exited (3)",
        "[1] -> #2 wait until p-migrate-1 has completed: "
        "web depends on migrate: completed successfully",
        "[2] -> #3 start container p-web-1: created, but never started",
    ]


def test_a_changed_job_is_run_again():
    web = service("web", depends("migrate", "completed_successfully"))
    engine = running(stack(service("migrate", argv=ends(0)), web))
    changed = stack(service("migrate", argv=ends(0), version="2"), web)
    assert [line.split(" -> ")[1] for line in shown(engine, changed)] == [
        "#1 create container p-migrate-1 anew: configuration changed",
        "#2 remove container p-migrate-1: configuration changed",
        "#3 give container p-migrate-1 its name: configuration changed",
        "#4 start container p-migrate-1: configuration changed",
    ]
