"""Services with the mounts of others (`volumes_from`): made anew when these are other ones."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from stackctl.model.container import GeneratedFile, ImageMount, TmpfsMount, VolumeMount
from stackctl.model.lending import SOCKET, borrowed, by_target, lent
from stackctl.scheduler.desired import Desired, Recreate, UpPolicy
from stackctl.scheduler.executor import execute
from stackctl.scheduler.ops import CreateContainer
from stackctl.scheduler.plan import up_plan
from stackctl.scheduler.show import render
from stackctl.testing.engine import MemoryEngine
from stackctl.testing.stacks import depends, service, stack


def lines(engine: MemoryEngine, desired: Desired, **policy: Any) -> list[str]:
    return render(up_plan(desired, engine.observed("p"), UpPolicy(**policy))).splitlines()


def up(engine: MemoryEngine, desired: Desired, **policy: Any) -> None:
    plan = up_plan(desired, engine.observed("p"), UpPolicy(**policy))
    asyncio.run(execute(plan, engine)).raise_failure()
    assert lines(engine, desired) == []


def anew(engine: MemoryEngine, desired: Desired, **policy: Any) -> dict[str, str]:
    """Containers that would be made anew, with the cause."""
    made = (line.partition("create container ")[2] for line in lines(engine, desired, **policy))
    return dict(text.split(" anew: ") for text in made if " anew: " in text)


def mounts(engine: MemoryEngine, name: str) -> dict[str, tuple[str, bool]]:
    found = by_target(engine._named(name).config.mounts)
    return {t: (m.volume, m.read_only) for t, m in found.items() if isinstance(m, VolumeMount)}


def lending(volumes: Any = ("data",), anonymous: Any = ("/cache",), **changes: Any) -> Desired:
    owner = service("owner", volumes=volumes, anonymous=anonymous, **changes)
    user = service("user", depends("owner"), volumes_from=["owner:ro"])
    return stack(owner, user, service("chain", depends("user"), volumes_from=["user"]))


CHANGED = {
    "p-user-1": "the mounts of p-owner-1 have changed (volumes_from)",
    "p-chain-1": "the mounts of p-user-1 have changed (volumes_from)",
}


def test_what_is_lent_has_changed():
    engine = MemoryEngine()
    up(engine, lending())
    assert mounts(engine, "p-chain-1") == {
        target: (volume, True) for target, (volume, _) in mounts(engine, "p-owner-1").items()
    }
    wider = lending(volumes=["data", "more"])
    assert (
        anew(engine, wider) == {"p-owner-1": "volumes changed"} | CHANGED
        or anew(engine, wider) == {"p-owner-1": "configuration changed"} | CHANGED
    )
    up(engine, wider)
    assert "/more" in mounts(engine, "p-chain-1")
    narrow = lending(anonymous=())
    assert anew(engine, narrow).keys() == {"p-owner-1"} | CHANGED.keys()
    up(engine, narrow)
    assert mounts(engine, "p-chain-1") == {"/data": ("p_data", True)}


def test_an_owner_made_anew_with_the_same_mounts_makes_nobody_anew():
    engine = MemoryEngine()
    up(engine, lending())
    assert anew(engine, lending(version="2")).keys() == {"p-owner-1"}
    before = mounts(engine, "p-user-1")
    up(engine, lending(version="2"))
    assert mounts(engine, "p-user-1") == before


@pytest.mark.parametrize("services", [(), ("user", "chain")])
def test_new_anonymous_volumes_are_given_to_who_shares_them(services: tuple[str, ...]):
    engine = MemoryEngine()
    up(engine, lending())
    # Without those that share them: the next `up` sees it.
    fresh = UpPolicy(
        services=("owner",), recreate=Recreate.FORCE, renew_anonymous_volumes=True, no_deps=True
    )
    asyncio.run(execute(up_plan(lending(), engine.observed("p"), fresh), engine)).raise_failure()
    assert mounts(engine, "p-user-1")["/cache"][0] != mounts(engine, "p-owner-1")["/cache"][0]
    assert anew(engine, lending(), recreate=Recreate.NEVER) == {}
    assert anew(engine, lending(), services=services) == CHANGED
    up(engine, lending(), services=services)
    assert mounts(engine, "p-chain-1")["/cache"][0] == mounts(engine, "p-owner-1")["/cache"][0]
    policy = {"recreate": Recreate.FORCE, "renew_anonymous_volumes": True}
    forced = anew(engine, lending(), services=("owner", "user", "chain"), **policy)
    assert forced.keys() == {"p-owner-1", "p-user-1", "p-chain-1"}


def test_what_an_interrupted_update_left_lends_nothing():
    def sharing(version: str = "") -> Desired:
        owner = service("owner", anonymous=["/cache"])
        need = depends("owner", restart=True)
        return stack(owner, service("user", need, volumes_from=["owner"], version=version))

    engine = MemoryEngine()
    up(engine, sharing())
    renewed = UpPolicy(recreate=Recreate.FORCE, renew_anonymous_volumes=True)
    engine.fail(CreateContainer, "p-user-1")
    plan = up_plan(sharing(), engine.observed("p"), renewed)
    assert not asyncio.run(execute(plan, engine)).ok
    engine.mend()
    # The owner's successor is there, and goes before anybody's mounts are looked up.
    again = up_plan(sharing("2"), engine.observed("p"), UpPolicy())
    (left,) = [step.number for step in again.steps if "left over" in step.cause]
    (made,) = [step for step in again.steps if isinstance(step.op, CreateContainer)]
    assert left in made.after
    up(engine, sharing("2"))
    assert mounts(engine, "p-user-1") == mounts(engine, "p-owner-1")


def test_nothing_is_said_of_lenders_elsewhere():
    engine = MemoryEngine()
    other = stack(service("elsewhere", project="q"), project="q")
    plan = up_plan(other, engine.observed("q"), UpPolicy())
    asyncio.run(execute(plan, engine)).raise_failure()
    user = service("user")
    config = replace(user.replicas[0], volumes_from=("q-elsewhere-1",))
    up(engine, stack(replace(user, replicas=(config,))))


def test_what_is_private_is_not_lent():
    config = replace(
        service("owner").replicas[0],
        mounts=(
            VolumeMount(volume="v", target="/v/"),
            VolumeMount(volume="s", target="/run/secrets/s"),
            VolumeMount(volume="d", target=SOCKET),
            TmpfsMount(target="/tmp"),
        ),
        files=(GeneratedFile(target="/run/secrets/s", content=""),),
    )
    given = lent(config, by_target(config.mounts))
    assert given.keys() == {"/v"}
    user = replace(service("user").replicas[0], volumes_from=("owner",))
    assert borrowed(user, {"owner": given}.__getitem__) == given
    hides = replace(user, mounts=(VolumeMount(volume="own", target="/v"),))
    assert borrowed(hides, {"owner": given}.__getitem__) == {}


def test_another_image_that_is_mounted_makes_the_container_anew():
    mount = ImageMount(image="files", target="/files", image_id="sha256:1")
    user = service("user")
    (replica,) = user.replicas
    user = replace(user, replicas=(replace(replica, mounts=(mount,)),))
    engine = MemoryEngine()
    up(engine, stack(user))
    desired = replace(stack(user), mounted_images={"files": "sha256:1"})
    assert anew(engine, desired) == {}
    desired = replace(desired, mounted_images={"files": "sha256:2"})
    assert anew(engine, desired) == {"p-user-1": "image files, which is mounted at /files, changed"}
    # One that is not here any more is no other one.
    assert anew(engine, replace(desired, mounted_images={})) == {}
