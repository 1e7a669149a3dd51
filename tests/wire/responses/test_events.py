from keyrelay.wire.responses.events import TextDelta, frame


def test_an_event_has_its_name_and_its_number() -> None:
    delta = TextDelta(item_id="msg_1", output_index=0, content_index=0, delta="a\nb\u2028")
    assert frame(delta, 4) == (
        b"event: response.output_text.delta\n"
        b'data: {"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_1","output_index":0,'
        b'"content_index":0,"delta":"a\\nb\xe2\x80\xa8","logprobs":[]}\n\n'
    )
