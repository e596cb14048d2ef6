"""What pgBackRest's answers are read as: verifications of intact and damaged archives, and missing log."""

from __future__ import annotations

import pytest

from roles.backup_postgresql.onhost.calls import Backup, CallError, parse_stanza
from roles.backup_postgresql.onhost.reading import find_gaps, read_verification, segment_number

# As pgBackRest 2.55 prints it.
INTACT = """stanza: ymera-postgresql
status: ok
  archiveId: 17-1, total WAL checked: 5, total valid WAL: 5
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
  backup: 20261125-191029F, status: valid, total files checked: 1329, total valid files: 1329
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
"""
DAMAGED = """stanza: ymera-postgresql
status: error
  archiveId: 17-1, total WAL checked: 6, total valid WAL: 5
    missing: 0, checksum invalid: 0, size invalid: 0, other: 1
  backup: 20261125-191029F, status: invalid, total files checked: 1329, total valid files: 1328
    missing: 0, checksum invalid: 1, size invalid: 0, other: 0
"""


def make_backup(number: int, first: str, last: str, kind: str = "full") -> Backup:
    label = f"2026112{number}-010000F" + ("" if kind == "full" else f"_2026112{number}-020000D")
    return Backup(label, kind, number * 86_400, number * 86_400 + 60, first, last, 1, 1, False)


def segments(timeline: int, *numbers: int) -> list[str]:
    return [f"{timeline:08X}{n // 256:08X}{n % 256:08X}-{'0' * 40}.zst" for n in numbers]


def test_an_intact_archive() -> None:
    assert read_verification(INTACT) == (1334, [])


def test_a_damaged_archive_is_told_by_part() -> None:
    checked, problems = read_verification(DAMAGED)
    assert checked == 1335
    assert problems == [
        "archive 17-1: 1 objects cannot be read",
        "backup 20261125-191029F is invalid",
        "backup 20261125-191029F: 1 objects have an invalid checksum",
    ]


@pytest.mark.parametrize("text", ["", "\n", "nothing of the kind"])
def test_no_answer_is_no_good_answer(text: str) -> None:
    assert read_verification(text)[1] == ["nothing could be verified"]


def test_an_error_without_a_part_is_a_problem_too() -> None:
    assert read_verification("stanza: s\nstatus: error\n  no archives or backups exist in the repo\n")[1]


def test_segments_are_numbered_across_files() -> None:
    assert segment_number("000000020000000100000002-" + "0" * 40 + ".gz") == (2, 258)
    for name in ("00000002.history", "000000010000000000000002.00000028.backup", "archive.info", "x"):
        assert segment_number(name) is None


def test_whole_log_has_no_gap() -> None:
    backup = make_backup(1, "000000010000000000000002", "000000010000000000000003")
    assert list(find_gaps(segments(1, 1, 2, 3, 4, 255, 256, *range(5, 255)), [backup])) == []


def test_a_gap_since_the_newest_backup_is_open() -> None:
    backup = make_backup(1, "000000010000000000000002", "000000010000000000000003")
    (gap,) = find_gaps(segments(1, 2, 3, 4, 7), [backup])
    assert (gap.first, gap.count, gap.needed, gap.past) == ("000000010000000000000005", 2, False, False)
    assert "until the next backup" in gap.text


def test_a_gap_before_a_later_backup_is_past() -> None:
    backups = [
        make_backup(1, "000000010000000000000002", "000000010000000000000003"),
        make_backup(2, "000000010000000000000008", "000000010000000000000008"),
    ]
    (gap,) = find_gaps(segments(1, 2, 3, 4, 7, 8, 9), backups)
    assert (gap.first, gap.count, gap.needed, gap.past) == ("000000010000000000000005", 2, False, True)


def test_log_that_a_backup_needs_is_needed_wherever_it_is() -> None:
    backup = make_backup(1, "000000010000000000000002", "000000010000000000000004")
    for present, count in (((2, 4, 5), 1), ((4, 5), 2), ((), 3)):
        (gap,) = find_gaps(segments(1, *present), [backup])
        assert gap.needed
        assert gap.count == count


def test_between_an_old_backup_and_the_next_the_log_may_have_gone() -> None:
    backups = [
        make_backup(1, "000000010000000000000002", "000000010000000000000003"),
        make_backup(8, "000000010000000000000050", "000000010000000000000050"),
    ]
    assert list(find_gaps(segments(1, 2, 3, 0x50, 0x51), backups)) == []


def test_the_rest_of_a_former_timeline_is_past() -> None:
    backups = [
        make_backup(1, "000000010000000000000002", "000000010000000000000002"),
        make_backup(2, "000000020000000000000009", "000000020000000000000009"),
    ]
    (gap,) = find_gaps([*segments(1, 2, 3, 5), *segments(2, 6, 7, 8, 9)], backups)
    assert gap.past


def test_an_answer_of_info_is_read() -> None:
    answer = [
        {
            "name": "s",
            "status": {"code": 0, "message": "ok"},
            "db": [{"id": 1, "system-id": 5, "version": "15"}, {"id": 2, "system-id": 7, "version": "17"}],
            "backup": [
                {
                    "label": "20261125-191029F",
                    "type": "full",
                    "timestamp": {"start": 1, "stop": 2},
                    "archive": {"start": "0" * 24, "stop": "0" * 24},
                    "info": {"size": 10, "repository": {"delta": 3, "size": 4}},
                    "error": True,
                }
            ],
        }
    ]
    found = parse_stanza(answer, "s")
    assert (found.archive_id, found.system, found.version) == ("17-2", 7, "17")
    assert found.backups[0].damaged_pages
    assert found.backups[0].stored == 4
    answer[0]["status"] = {"code": 1, "message": "missing stanza path"}
    with pytest.raises(CallError, match="missing stanza path"):
        parse_stanza(answer, "s")
    with pytest.raises(CallError, match="has none"):
        parse_stanza([], "s")
