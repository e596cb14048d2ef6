"""Declared streams and consumers as JetStream's interface names them."""

from __future__ import annotations

from typing import Any

from groundwork.manifest.services import NatsService
from roles.nats.streams import check_streams, list_consumers, list_streams


def service(**streams: dict[str, Any]) -> NatsService:
    data = {"kind": "nats", "hosts": "data", "jetstream": {"file_max": 1000}, "key_value_buckets": ["places"]}
    return NatsService.model_validate({**data, "streams": streams})


def test_limits_are_those_of_the_manifest_and_others_are_open() -> None:
    declared = service(
        orders={"subjects": ["orders.>"], "retention": "work_queue", "when_full": "refuse", "maximum_messages": 5},
        prices={"subjects": ["prices.*"], "maximum_age": "30s"},
    )
    bucket, orders, prices = list_streams(declared, 1)
    assert bucket["name"] == "KV_places"
    names = ("retention", "discard", "max_msgs", "max_bytes", "max_age", "duplicate_window", "num_replicas")
    assert [orders[name] for name in names] == ["workqueue", "new", 5, -1, 0, 120 * 10**9, 1]
    # The server remembers identifiers no longer than messages.
    assert [prices[name] for name in names] == ["limits", "old", -1, -1, 30 * 10**9, 30 * 10**9, 1]


def test_a_limit_by_subject_refuses_by_subject() -> None:
    one = {"subjects": ["a.*"], "maximum_messages_per_subject": 3}
    declared = service(kept={**one, "when_full": "refuse"}, lost={**one, "subjects": ["b.*"]})
    assert [stream["discard_new_per_subject"] for stream in list_streams(declared, 1)[1:]] == [True, False]


def test_copies_are_at_most_three_unless_they_are_declared() -> None:
    declared = service(a={"subjects": ["a"]}, b={"subjects": ["b"], "replicas": 1})
    assert [stream["num_replicas"] for stream in list_streams(declared, 5)] == [3, 3, 1]


def test_consumers_are_pulled_from_and_acknowledged() -> None:
    declared = service(orders={"subjects": ["orders.>"], "consumers": {"fast": {"filter": "orders.fast"}}})
    (found,) = list_consumers(declared)
    config = found["config"]
    assert isinstance(config, dict)
    assert found["stream"] == "orders"
    assert (config["durable_name"], config["filter_subject"], config["max_deliver"]) == ("fast", "orders.fast", -1)
    assert config["ack_policy"] == "explicit"
    assert "deliver_subject" not in config


def test_space_and_copies_that_are_not_there_are_refused() -> None:
    declared = service(a={"subjects": ["a"], "maximum_bytes": 501}, b={"subjects": ["b"], "replicas": 3})
    assert [one.key for one in check_streams(declared, "services.nats", 2)] == [
        "services.nats.streams",
        "services.nats.streams.b.replicas",
    ]
    fitting = service(a={"subjects": ["a"], "maximum_bytes": 500}, b={"subjects": ["b"], "replicas": 2})
    assert list(check_streams(fitting, "services.nats", 2)) == []
    without = fitting.model_copy(update={"jetstream": None, "key_value_buckets": []})
    assert [one.key for one in check_streams(without, "services.nats", 2)] == ["services.nats.jetstream"]
