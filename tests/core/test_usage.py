from keyrelay.core.usage import Usage


def test_the_total_is_input_and_output() -> None:
    assert Usage(3, 4).total_tokens == 7
    assert Usage().total_tokens == 0
    assert Usage(3, 4) == Usage(3, 4, estimated=False)
