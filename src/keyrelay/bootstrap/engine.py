"""The engine, joined with whatever ports it is given: the gateway's own, or those of a replay."""

import time
from collections.abc import Callable

from keyrelay.bootstrap.parts import cache_settings, circuit_settings, engine_settings, margins_of, secrets_of
from keyrelay.configuration.values import Configuration
from keyrelay.core.redaction import Redactor
from keyrelay.engine.cache import AnswerCache
from keyrelay.engine.cache_counts import CacheCounts
from keyrelay.engine.files import Files
from keyrelay.engine.gateway import Gateway
from keyrelay.engine.learner import Learner
from keyrelay.engine.merging import merge_accounts, regroup_keys
from keyrelay.engine.pool import Pool
from keyrelay.engine.recall import Recall, recall_in_memory, recall_shared
from keyrelay.engine.shared_continuity import SharedState
from keyrelay.engine.shelf import Cache, Shelf
from keyrelay.ports import Ports
from keyrelay.quota.calibration import Calibrations
from keyrelay.quota.learning import LearnedBook, Organisations
from keyrelay.routing.health import Health
from keyrelay.settings import Settings
from keyrelay.upstream.tokenisers import open_tokenisers
from keyrelay.wire.registry import DIALECTS


class SystemClock:
    """The machine's clocks: the one that event loops use, and seconds since 1970 in UTC."""

    __slots__ = ()

    # Bound as they are: a Python frame around a clock would cost more than the clock, ten times per request.
    monotonic_s = staticmethod(time.monotonic)
    epoch_s = staticmethod(time.time)


def compose_pool(configuration: Configuration, note: Callable[[str], None]) -> Pool:
    """The candidates of a configuration, with nothing known of them yet; `note` gets what helps to find mistakes."""
    settings = configuration.settings
    calibrations = Calibrations(settings.completion_percentile / 100)
    health = Health(circuit_settings(settings))
    if settings.token_counter != "tiktoken":  # noqa: S105 - tokens of text, no secret
        return Pool(configuration.snapshot, health, calibrations)
    models = (model for provider in configuration.snapshot.providers.values() for model in provider.models)
    tokenisers = open_tokenisers(models)
    for text in tokenisers.notes:
        note(text)
    return Pool(
        configuration.snapshot, health, calibrations, vocabulary_of=tokenisers.vocabulary_of, count=tokenisers.count
    )


def compose_gateway(
    configuration: Configuration,
    pool: Pool,
    ports: Ports,
    *,
    report: Callable[[str], None],
    answers: AnswerCache | None = None,
    state: SharedState | None = None,
    files: Files | None = None,
) -> Gateway:
    """The engine over these ports; `report` gets a sentence when a provider contradicts what was believed of it."""
    ledger, clock = ports.ledger, ports.clock
    learner = Learner(
        ledger,
        LearnedBook(),
        Organisations(),
        redactor=Redactor(secrets_of(configuration)),
        report=report,
        merged=lambda merge: merge_accounts(pool, ledger, merge, clock.epoch_s()),
        started_s=clock.epoch_s(),
        margins=margins_of(configuration),
    )
    settings = engine_settings(configuration.settings)
    recall = _recall(configuration.settings, state)
    return Gateway(
        pool,
        ports,
        settings=settings,
        learner=learner,
        dialects=DIALECTS,
        recall=recall,
        answers=answers,
        files=files,
    )


def _recall(settings: Settings, state: SharedState | None) -> Recall:
    """What is remembered of conversations: by this process, and with `state` by all that share it."""
    if state is None or not settings.state_ttl_s:
        return recall_in_memory(settings.state_max_bytes, settings.state_ttl_s)
    return recall_shared(settings.state_max_bytes, settings.state_ttl_s, state)


def compose_answers(
    configuration: Configuration, pool: Pool, ports: Ports, cache: Cache, *, report: Callable[[str], None]
) -> AnswerCache:
    """The response cache over `cache`; `report` gets a sentence when that gives back what was not asked for."""
    settings, counts = cache_settings(configuration.settings), CacheCounts()
    shelf = Shelf(cache, ports.clock, counts, settings=settings, report=report)
    return AnswerCache(pool, ports, shelf, counts, settings=settings)


def reconfigure(gateway: Gateway, configuration: Configuration) -> None:
    """Let the engine go on with another configuration. Requests under way end with the plan that they have."""
    gateway.learner.redactor.know(secrets_of(configuration))
    gateway.learner.margins = margins_of(configuration)
    gateway.pool.replace(configuration.snapshot)
    for merge in gateway.learner.organisations.merges():  # providers have said so, whatever is configured
        regroup_keys(gateway.pool, merge)
    gateway.configure(engine_settings(configuration.settings))
    if gateway.answers is not None:
        gateway.answers.configure(cache_settings(configuration.settings))
