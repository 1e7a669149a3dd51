from keyrelay.wire.dialects import Target, UntranslatableError, Written


def test_what_cannot_be_said_is_told_with_its_field() -> None:
    error = UntranslatableError("messages[0].content[1]", "sound is nothing that it takes")
    assert str(error) == "messages[0].content[1]: sound is nothing that it takes"
    assert (error.field, error.reason) == ("messages[0].content[1]", "sound is nothing that it takes")


def test_nothing_is_left_out_unless_said() -> None:
    assert Written(body=b"{}").left_out == ()
    assert Target(provider_id="acme", model="m").max_output_tokens == 0
