from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundwork.manifest.patterns import judge_subject
from groundwork.manifest.platform import Platform
from groundwork.problems import ProblemError
from groundwork.topology.subjects import SubjectRights, list_subject_rights


def make(needs: dict[str, dict[str, Any]], **service: Any) -> Platform:
    groups = {
        name: {
            "hosts": "app",
            "module": "shop.m",
            "needs": [{"name": "nats", **need}],
            "agents": {f"{name}-one": {"port": 8000 + 100 * number, "health_subject": f"{name}.health"}},
        }
        for number, (name, need) in enumerate(needs.items())
    }
    groups["idle"] = {"hosts": "app", "module": "shop.m", "agents": {"waiter": {"port": 9000}}}
    service = {"hosts": "data", "jetstream": {}, **service}
    return Platform.model_validate(
        {
            "platform": "shop",
            "runtime": {"package": {"directory": "."}, "launcher": "shop"},
            "services": {"nats": service},
            "groups": groups,
            "lab": {"hosts": {"app": ["app"], "data": ["data"]}},
        }
    )


def rights(needs: dict[str, dict[str, Any]], **service: Any) -> dict[str, SubjectRights]:
    return {one.group: one for one in list_subject_rights(make(needs, **service), "nats")}


def test_a_group_gets_what_it_names_its_health_and_its_own_inbox() -> None:
    found = rights({"sales": {"publish": ["orders.>"], "subscribe": ["prices.*"]}})
    assert set(found) == {"sales"}
    assert found["sales"].publish == ("orders.>",)
    assert found["sales"].subscribe == ("prices.*", "sales.health", "_INBOX.sales.>")


def test_the_inbox_of_all_becomes_the_groups_own() -> None:
    found = rights({"sales": {"publish": ["_INBOX.>"], "subscribe": ["_INBOX.>"]}})
    assert found["sales"].publish == ()
    assert found["sales"].subscribe == ("sales.health", "_INBOX.sales.>")


def test_buckets_are_open_to_all_until_a_group_claims_one() -> None:
    buckets = ["settings", "places"]
    needs: dict[str, dict[str, Any]] = {"sales": {"publish": ["$KV.settings.>"]}, "stock": {}}
    found = rights(needs, key_value_buckets=buckets)
    assert "$KV.settings.>" in found["sales"].publish
    assert "$KV.settings.>" not in found["stock"].publish
    for one in found.values():
        assert "$KV.places.>" in one.publish
        assert "$JS.API.STREAM.INFO.KV_settings" in one.publish
        assert not [s for s in one.publish if "STREAM.DELETE" in s or "STREAM.PURGE" in s or "STREAM.CREATE" in s]


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ("", "no subject"),
        ("a..b", "no subject"),
        ("a b", "no subject"),
        ("a.>.b", "no subject"),
        ("a.b*", "no subject"),
        ('a"', "no subject"),
        ("a\n", "no subject"),
        ("x" * 201, "no subject"),
        (">", "wildcard"),
        ("*.health", "wildcard"),
        ("_INBOX.sales.>", "another's inbox"),
        ("_INBOX.*", "another's inbox"),
        ("$SYS.>", "belongs to the server"),
        ("$JS.API.>", "belongs to the server"),
        ("$KV.settings.>", "belongs to the server"),
    ],
)
def test_subjects_that_no_group_may_have(subject: str, reason: str) -> None:
    assert reason in judge_subject(subject)
    with pytest.raises(ProblemError) as caught:
        rights({"sales": {"subscribe": [subject]}})
    assert [p.key for p in caught.value.problems] == ["groups.sales.needs.0.subscribe.0"]


def test_an_undeclared_bucket_cannot_be_named() -> None:
    with pytest.raises(ProblemError, match="belongs to the server"):
        rights({"sales": {"publish": ["$KV.other.>"]}}, key_value_buckets=["settings"])


STREAMS: dict[str, Any] = {
    "orders": {"subjects": ["orders.>"], "consumers": {"fast": {"filter": "orders.fast"}, "slow": {}}},
    "prices": {"subjects": ["prices.*"]},
}


def test_a_reader_gets_the_declared_consumers_alone() -> None:
    found = rights({"sales": {"streams": ["orders"]}, "stock": {"streams": ["prices"]}}, streams=STREAMS)
    assert found["sales"].publish == (
        "$JS.API.STREAM.INFO.orders",
        "$JS.API.CONSUMER.INFO.orders.fast",
        "$JS.API.CONSUMER.MSG.NEXT.orders.fast",
        "$JS.ACK.orders.fast.>",
        "$JS.API.CONSUMER.INFO.orders.slow",
        "$JS.API.CONSUMER.MSG.NEXT.orders.slow",
        "$JS.ACK.orders.slow.>",
    )
    assert found["stock"].publish == ("$JS.API.STREAM.INFO.prices",)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["sales", "stock"]), st.sets(st.sampled_from([*STREAMS])), min_size=1),
    st.booleans(),
)
def test_a_group_without_the_stream_gets_none_of_its_subjects(uses: dict[str, set[str]], dynamic: bool) -> None:
    needs = {
        group: {"streams": [{"name": name, "dynamic_consumers": dynamic} for name in sorted(names)]}
        for group, names in uses.items()
    }
    for group, one in rights(needs, streams=STREAMS, key_value_buckets=["places"]).items():
        for name in STREAMS:
            reached = [subject for subject in one.publish if name in subject.split(".")]
            assert bool(reached) == (name in uses[group])
            assert [s for s in reached if ".CREATE." in s or ".DELETE." in s] == [
                s
                for s in reached
                if dynamic and ".CONSUMER." in s and s.endswith(f"{name}.*") and "MSG" not in s and "INFO" not in s
            ]
        for word in ("STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "STREAM.PURGE", "STREAM.NAMES", "STREAM.LIST"):
            assert not [subject for subject in one.publish if word in subject]


@given(st.text(max_size=30))
def test_accepted_subjects_stay_within_quotes_and_below_a_word(subject: str) -> None:
    if judge_subject(subject) == "":
        assert not set(subject) & set("\"'\\ \n\r\t#{}[],;")
        assert subject == "_INBOX.>" or subject.split(".")[0] not in ("*", ">", "_INBOX")
        assert not subject.startswith("$")
