"""Ports in a row are told as one."""

from stackctl.model.port_runs import port_runs


def test_ports_whose_numbers_go_up_together_are_one_run() -> None:
    ports = [("a", 8002, 82), ("a", 8001, 81), ("b", 8003, 83), ("a", 8004, 84), ("a", 8005, 99)]
    assert port_runs(ports) == [
        ("a", "8001-8002", "81-82"),
        ("a", "8004", "84"),
        ("a", "8005", "99"),
        ("b", "8003", "83"),
    ]


def test_one_is_itself_and_twice_is_once() -> None:
    assert port_runs([]) == []
    assert port_runs([("a", 1, 2), ("a", 1, 2)]) == [("a", "1", "2")]
