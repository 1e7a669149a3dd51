import pytest

from keyrelay.core.configuration import PolicyName, Provider, Route, Snapshot, Target
from keyrelay.routing.resolve import Resolution, StageTargets, canonical_model, known_names, near_matches, resolve
from tests.routing.helpers import provider

ROUND_ROBIN, PRIORITY, WEIGHTED = PolicyName.ROUND_ROBIN, PolicyName.PRIORITY, PolicyName.WEIGHTED

GEMINI = provider(
    "gemini",
    priority=2,
    models=["gemini-3-flash-preview", "gemini-2.5-flash"],
    aliases=["gemini-3-flash"],
    model_prefixes=("gemini-", "gemma-3-"),
    default_model="gemini-2.5-flash",
)
GROQ = provider("groq", priority=1, models=["llama-3.3-70b", "openai/gpt-oss-120b"], default_model="llama-3.3-70b")
OPENAI = provider("openai", priority=3, models=["gpt-6-luna"], model_prefixes=("gpt-",), default_model="gpt-6-luna")
OPENROUTER = provider(
    "openrouter",
    priority=9,
    models=["openrouter/free", "openai/gpt-oss-120b:free", "gpt-6-luna"],
    open_models=True,
    default_model="openrouter/free",
)
OLLAMA = provider("ollama", priority=9, open_models=True, local=True)
VLLM = provider("vllm", priority=9, models=["qwen"], open_models=True, local=True, default_model="qwen")


def snapshot(
    *providers: Provider,
    routes: tuple[Route, ...] = (),
    fallback: tuple[Target, ...] = (),
    policy: PolicyName = ROUND_ROBIN,
) -> Snapshot:
    return Snapshot(
        providers={each.id: each for each in providers},
        keys=(),
        routes={route.name: route for route in routes},
        clients={},
        policy=policy,
        fallback=fallback,
    )


def stages(resolution: Resolution | None) -> list[tuple[list[str], PolicyName, bool]]:
    assert resolution is not None
    return [([str(target) for target in stage.targets], stage.policy, stage.last_resort) for stage in resolution.stages]


def named(name: str, *providers: Provider) -> list[list[str]]:
    """The targets of each stage that a name stands for, nobody standing in."""
    resolution = resolve(snapshot(*providers), name)
    assert resolution is None or not resolution.free_choice
    return [] if resolution is None else [targets for targets, _, _ in stages(resolution)]


class TestNames:
    @pytest.mark.parametrize(
        ("name", "targets"),
        [
            ("llama-3.3-70b", [["groq/llama-3.3-70b"]]),
            ("gemini-3-flash", [["gemini/gemini-3-flash-preview"]]),
            ("models/gemini-2.5-flash", [["gemini/gemini-2.5-flash"]]),
            ("gemini/gemini-2.5-flash", [["gemini/gemini-2.5-flash"]]),
            ("gemini/gemini-3-flash", [["gemini/gemini-3-flash-preview"]]),
            ("gemini/models/gemini-2.5-flash", [["gemini/gemini-2.5-flash"]]),
            ("gemini/unheard-of", [["gemini/unheard-of"]]),
            ("gemini-1.0-pro", [["gemini/gemini-1.0-pro"]]),
            ("gemma-3-27b-it", [["gemini/gemma-3-27b-it"]]),
            ("groq/openai/gpt-oss-120b", [["groq/openai/gpt-oss-120b"]]),
            ("openai/gpt-oss-120b", [["groq/openai/gpt-oss-120b"]]),
            ("unheard-of", []),
            ("unheard/of", []),
            ("gemini/", []),
            ("/gemini", []),
            ("", []),
        ],
    )
    def test_a_name_is_served_by_that_model_alone(self, name: str, targets: list[list[str]]) -> None:
        assert named(name, GEMINI, GROQ) == targets

    def test_a_model_that_several_providers_list_is_served_in_order_of_priority(self) -> None:
        assert named("gpt-6-luna", OPENROUTER, OPENAI) == [["openai/gpt-6-luna"], ["openrouter/gpt-6-luna"]]

    def test_providers_of_equal_priority_share_a_stage_under_the_general_policy(self) -> None:
        first, second = provider("a", models=["m"]), provider("b", models=["m"])
        resolution = resolve(snapshot(first, second, policy=WEIGHTED), "m")
        assert stages(resolution) == [(["a/m", "b/m"], WEIGHTED, False)]

    def test_a_listed_name_comes_before_a_prefix(self) -> None:
        other = provider("other", models=["gemini-1.0-pro"])
        assert named("gemini-1.0-pro", GEMINI, other) == [["other/gemini-1.0-pro"]]

    def test_a_router_takes_any_name_with_a_slash(self) -> None:
        assert named("x/y", OPENROUTER, OLLAMA) == [["openrouter/x/y"]]
        assert named("xy", OPENROUTER) == []

    def test_a_server_of_ones_own_that_lists_nothing_takes_any_name(self) -> None:
        assert named("xy", OLLAMA, VLLM) == [["ollama/xy"]]
        assert named("x/y", OLLAMA, VLLM) == [["ollama/x/y"]]
        assert named("x/y", VLLM) == []

    def test_a_prefix_comes_before_what_takes_any_name(self) -> None:
        assert named("gemini-1.0-pro", GEMINI, OLLAMA) == [["gemini/gemini-1.0-pro"]]

    def test_bug_a_listed_name_that_begins_with_its_providers_was_cut(self) -> None:
        assert named("openrouter/free", OPENROUTER) == [["openrouter/openrouter/free"]]
        assert named("openrouter/openrouter/free", OPENROUTER) == [["openrouter/openrouter/free"]]

    def test_bug_a_listed_name_that_begins_with_anothers_went_to_the_other(self) -> None:
        assert named("openai/gpt-oss-120b", OPENAI, GROQ) == [["groq/openai/gpt-oss-120b"]]

    def test_provider_and_model_win_when_the_provider_lists_the_model(self) -> None:
        other = provider("other", models=["openai/gpt-6-luna"])
        assert named("openai/gpt-6-luna", OPENAI, other) == [["openai/gpt-6-luna"]]

    def test_and_when_nobody_lists_it(self) -> None:
        assert named("openai/gpt-7", OPENAI, GROQ, OPENROUTER) == [["openai/gpt-7"]]

    def test_bug_a_prefix_did_not_claim_geminis_long_form(self) -> None:
        assert named("models/gemini-1.0-pro", GEMINI) == [["gemini/gemini-1.0-pro"]]


class TestRoutes:
    def route(self, policy: PolicyName, *fallback: Target) -> Route:
        targets = (
            Target("groq", "llama-3.3-70b"),
            Target("nobody", "x"),
            Target("gemini", ""),
            Target("gemini", "gemini-3-flash"),
        )
        return Route(name="fast", targets=targets, policy=policy, fallback=fallback)

    def test_a_route_is_one_stage_under_its_policy(self) -> None:
        resolution = resolve(snapshot(GROQ, GEMINI, routes=(self.route(WEIGHTED),)), "fast")
        models = ["groq/llama-3.3-70b", "gemini/gemini-2.5-flash", "gemini/gemini-3-flash-preview"]
        assert stages(resolution) == [(models, WEIGHTED, False)]
        assert resolution is not None
        assert resolution.free_choice

    def test_by_priority_it_is_one_stage_for_each_target(self) -> None:
        resolution = resolve(snapshot(GROQ, GEMINI, routes=(self.route(PRIORITY),)), "fast")
        assert stages(resolution) == [
            (["groq/llama-3.3-70b"], ROUND_ROBIN, False),
            (["gemini/gemini-2.5-flash"], ROUND_ROBIN, False),
            (["gemini/gemini-3-flash-preview"], ROUND_ROBIN, False),
        ]

    def test_its_fallback_comes_behind_and_the_general_one_last(self) -> None:
        route = self.route(ROUND_ROBIN, Target("vllm", ""), Target("nobody", "x"))
        last = (Target("ollama", "llama3"), Target("vllm", "qwen"), Target("groq", "llama-3.3-70b"))
        resolution = resolve(snapshot(GROQ, GEMINI, VLLM, OLLAMA, routes=(route,), fallback=last), "fast")
        assert stages(resolution)[1:] == [
            (["vllm/qwen"], ROUND_ROBIN, True),
            (["ollama/llama3"], ROUND_ROBIN, True),
        ]

    def test_a_route_comes_before_a_model_of_its_name(self) -> None:
        route = Route(name="llama-3.3-70b", targets=(Target("gemini", ""),))
        resolution = resolve(snapshot(GROQ, GEMINI, routes=(route,)), "llama-3.3-70b")
        assert stages(resolution) == [(["gemini/gemini-2.5-flash"], ROUND_ROBIN, False)]

    def test_auto_goes_by_priority(self) -> None:
        auto = Route(
            name="auto", targets=(Target("gemini", ""), Target("groq", ""), Target("ollama", "")), policy=PRIORITY
        )
        resolution = resolve(snapshot(GEMINI, GROQ, OLLAMA, routes=(auto,), policy=WEIGHTED), "auto")
        assert stages(resolution) == [
            (["groq/llama-3.3-70b"], WEIGHTED, False),
            (["gemini/gemini-2.5-flash"], WEIGHTED, False),
        ]  # ollama has no default model

    def test_a_route_to_nobody_has_no_stages(self) -> None:
        route = Route(name="fast", targets=(Target("nobody", "x"),))
        assert resolve(snapshot(GROQ, routes=(route,)), "fast") == Resolution((), free_choice=True)


class TestLastResort:
    def test_it_stands_in_for_a_name_too(self) -> None:
        resolution = resolve(
            snapshot(GROQ, VLLM, fallback=(Target("vllm", ""), Target("nobody", "x"))), "llama-3.3-70b"
        )
        assert stages(resolution) == [
            (["groq/llama-3.3-70b"], ROUND_ROBIN, False),
            (["vllm/qwen"], ROUND_ROBIN, True),
        ]
        assert resolution is not None
        assert not resolution.free_choice

    def test_it_is_not_tried_twice(self) -> None:
        resolution = resolve(snapshot(GROQ, fallback=(Target("groq", "llama-3.3-70b"),)), "llama-3.3-70b")
        assert stages(resolution) == [(["groq/llama-3.3-70b"], ROUND_ROBIN, False)]

    def test_it_does_not_serve_a_name_that_nobody_knows(self) -> None:
        assert resolve(snapshot(GROQ, fallback=(Target("groq", ""),)), "unheard-of") is None


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("gemini-2.5-flash", "gemini-2.5-flash"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("gemini-3-flash", "gemini-3-flash-preview"),
        ("models/unheard-of", "unheard-of"),
        ("unheard-of", "unheard-of"),
    ],
)
def test_the_providers_own_name(name: str, canonical: str) -> None:
    assert canonical_model(GEMINI, name) == canonical


def test_a_model_that_is_listed_with_geminis_prefix_keeps_it() -> None:
    listed = provider("x", models=["models/a", "a"])
    assert canonical_model(listed, "models/a") == "models/a"
    assert canonical_model(listed, "a") == "a"


ROUTE = Route(name="fast", targets=())


def test_every_name_that_a_caller_may_use() -> None:
    both = provider("b", models=["m"])
    assert known_names(snapshot(provider("a", models=["m", "n"]), both, routes=(ROUTE,))) == [
        "fast",
        "m",
        "n",
        "a/m",
        "a/n",
        "b/m",
    ]


@pytest.mark.parametrize(
    ("name", "matches"),
    [
        ("gemini-2.5-flsh", ["gemini-2.5-flash", "gemini/gemini-2.5-flash", "gemini-3-flash-preview"]),
        ("fst", ["fast"]),
        ("zzz", []),
    ],
)
def test_names_that_resemble_what_was_asked_for(name: str, matches: list[str]) -> None:
    assert near_matches(snapshot(GEMINI, routes=(ROUTE,)), name) == matches


def test_a_stage_is_no_last_resort_unless_it_says_so() -> None:
    assert not StageTargets((), ROUND_ROBIN).last_resort


@pytest.mark.parametrize(
    ("asked", "listed", "target"),
    [
        ("llama3.2:latest", "llama3.2", "ollama/llama3.2"),
        ("llama3.2", "llama3.2:latest", "ollama/llama3.2:latest"),
        ("ollama/llama3.2", "llama3.2:latest", "ollama/llama3.2:latest"),
        ("llama3.2:3b", "llama3.2:3b", "ollama/llama3.2:3b"),
    ],
)
def test_a_name_without_a_tag_is_the_one_with_the_tag_latest(asked: str, listed: str, target: str) -> None:
    local = provider("ollama", priority=9, models=[listed], open_models=True, local=True)
    assert named(asked, local, OPENAI) == [[target]]


def test_another_tag_is_another_model() -> None:
    local = provider("ollama", priority=9, models=["llama3.2:latest"], local=True)
    assert resolve(snapshot(local), "llama3.2:3b") is None
