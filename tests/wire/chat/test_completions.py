from typing import Any

import pytest

from keyrelay.core.conversation import Conversation, Message, Sampling, Text
from keyrelay.core.errors import CallerError
from tests.wire.chat.samples import CALLER, asked


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"prompt": "Once"}, "Once"),
        ({"prompt": ["Once"]}, "Once"),
        ({"prompt": "Once", "suffix": ""}, "Once"),
        (
            {"prompt": "def f(", "suffix": "): pass"},
            "Write what belongs in place of <gap/> in the text below. Answer with that alone.\n\ndef f(<gap/>): pass",
        ),
    ],
)
def test_a_prompt_is_one_turn(members: dict[str, Any], text: str) -> None:
    conversation = CALLER.conversation(asked("completions", **members))
    assert conversation == Conversation(messages=(Message(role="user", parts=(Text(text=text),)),))


def test_all_that_a_prompt_may_come_with() -> None:
    request = asked(
        "completions", prompt="a", max_tokens=5, temperature=0, stop="b", n=1, user="u", logprobs=2, echo=True,
        best_of=3, stream=True,
    )  # fmt: skip
    assert CALLER.conversation(request) == Conversation(
        messages=(Message(role="user", parts=(Text(text="a"),)),),
        sampling=Sampling(temperature=0.0, logprobs=True, top_logprobs=2),
        max_output_tokens=5,
        stop=("b",),
        stream=True,
        user="u",
        left_out=("echo", "best_of"),
    )
    assert CALLER.conversation(asked("completions", prompt="a", logprobs=0)).sampling == Sampling()


@pytest.mark.parametrize(
    ("prompt", "param"), [(["a", "b"], "prompt"), ([], "prompt"), ([1], "prompt[0]"), ([[1, 2]], "prompt[0]")]
)
def test_a_prompt_that_is_no_single_text_is_refused(prompt: list[Any], param: str) -> None:
    with pytest.raises(CallerError) as caught:
        CALLER.conversation(asked("completions", prompt=prompt))
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, "unsupported_value")
