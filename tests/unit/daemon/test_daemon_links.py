"""What linked containers are told by variables, and `top` with options of ps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stackctl.daemon.link_variables import variables
from stackctl.daemon.process_table import chosen
from stackctl.errors import UsageError
from stackctl.model.container import ContainerConfig, Status
from stackctl.model.network import Endpoint
from stackctl.model.record import ContainerRecord

DB = ContainerRecord(
    id="d" * 64,
    created_at=0.0,
    status=Status.RUNNING,
    config=ContainerConfig(
        name="db",
        image="x",
        image_id="",
        argv=("true",),
        env=("PATH=/bin", "USER=me", "HOME=/"),
        expose=("5432/tcp", "53/udp", "80/tcp"),
    ),
    endpoints=(
        Endpoint(
            network="bridge",
            network_id="n",
            container_id="d" * 64,
            interface="eth0",
            mac="02:00:00:00:00:01",
            ipv4="10.0.0.2/16",
        ),
    ),
)


def test_a_link_in_the_default_network_is_told_by_variables() -> None:
    assert variables("web", "my-db", DB) == {
        "MY_DB_PORT": "tcp://10.0.0.2:80",
        "MY_DB_PORT_53_UDP": "udp://10.0.0.2:53",
        "MY_DB_PORT_53_UDP_ADDR": "10.0.0.2",
        "MY_DB_PORT_53_UDP_PORT": "53",
        "MY_DB_PORT_53_UDP_PROTO": "udp",
        "MY_DB_PORT_80_TCP": "tcp://10.0.0.2:80",
        "MY_DB_PORT_80_TCP_ADDR": "10.0.0.2",
        "MY_DB_PORT_80_TCP_PORT": "80",
        "MY_DB_PORT_80_TCP_PROTO": "tcp",
        "MY_DB_PORT_5432_TCP": "tcp://10.0.0.2:5432",
        "MY_DB_PORT_5432_TCP_ADDR": "10.0.0.2",
        "MY_DB_PORT_5432_TCP_PORT": "5432",
        "MY_DB_PORT_5432_TCP_PROTO": "tcp",
        "MY_DB_NAME": "/web/my-db",
        "MY_DB_ENV_USER": "me",
    }


def test_elsewhere_names_have_to_do() -> None:
    (endpoint,) = DB.endpoints
    assert variables("web", "db", replace(DB, endpoints=(replace(endpoint, network="n"),))) == {}
    assert variables("web", "db", replace(DB, status=Status.EXITED)) == {}


def test_rows_of_ps_are_told_by_their_pid() -> None:
    text = "USER   PID COMMAND\nroot     1 init\nme      42 sh -c sleep 3\n"
    assert chosen(text, {42}) == (["USER", "PID", "COMMAND"], [["me", "42", "sh -c sleep 3"]])
    for other in ("USER COMMAND\nroot init\n", ""):
        with pytest.raises(UsageError, match="PID"):
            chosen(other, {1})
