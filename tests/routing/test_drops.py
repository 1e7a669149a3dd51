from keyrelay.routing.drops import LASTING_REASONS, PASSING_REASONS, Dropped, DropReason


def test_what_only_a_person_can_mend_does_not_pass_by_itself() -> None:
    for reason in (DropReason.DEAD, DropReason.DISABLED, DropReason.EXPIRED, DropReason.OTHER_HOST):
        assert reason not in PASSING_REASONS


def test_what_is_about_one_request_alone_does_not_hold_for_others() -> None:
    for reason in (DropReason.NO_CAPABILITY, DropReason.INEXPRESSIBLE, DropReason.CONTEXT_TOO_SMALL, DropReason.FAILED):
        assert reason not in LASTING_REASONS


def test_nobody_knows_when_one_that_was_dropped_is_back_unless_it_is_said() -> None:
    dropped = Dropped(DropReason.RESTING, "refused a moment ago")
    assert (dropped.until_s, dropped.kind, dropped.sized) == (None, None, False)
