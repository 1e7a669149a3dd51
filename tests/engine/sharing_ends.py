"""Workers that share what they find out, each a whole engine, and a bulletin in this process that joins them."""

from collections.abc import Callable, Iterator, Mapping

from keyrelay.engine.sharing import Bulletin, Post, Sharing
from keyrelay.routing.circuit import CircuitSettings
from keyrelay.routing.health import Health
from tests.engine.rig import START_S, FakeAnswer, FakeClock, Rig, Script


class Board:
    """A bulletin for one worker of many in this process: what one publishes the others hear at `deliver`."""

    def __init__(self, others: "list[Board]") -> None:
        self.others = others
        self.posts: list[Post] = []
        self.receive: Callable[[str, bytes, float], None] | None = None
        self.present: Callable[[], Iterator[Post]] | None = None
        others.append(self)

    def __repr__(self) -> str:
        return f"<Board {len(self.posts)} posts>"

    def publish(self, post: Post) -> None:
        self.posts.append(post)

    def subscribe(self, receive: Callable[[str, bytes, float], None], present: Callable[[], Iterator[Post]]) -> None:
        self.receive = receive
        self.present = present

    def deliver(self, age_s: float = 0.0) -> list[Post]:
        """Let the others hear what this worker has said since the last time."""
        posts, self.posts = self.posts, []
        for other in self.others:
            if other is not self and other.receive is not None:
                for post in posts:
                    other.receive(post.subject, post.value, age_s)
        return posts


class SkewedClock(FakeClock):
    """A clock that a test moves, and that is ahead of the true one by `ahead_s`."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        super().__init__()
        self.moved_s = ahead_s

    def epoch_s(self) -> float:
        return START_S + self.moved_s


def good(*_: object) -> FakeAnswer:
    """Every call is answered."""
    return FakeAnswer()


class End:
    """One worker: an engine that shares over the bulletin."""

    def __init__(
        self,
        bulletin: Bulletin,
        environ: Mapping[str, str],
        script: Script = good,
        *,
        ahead_s: float = 0.0,
        circuits: CircuitSettings | None = None,
        random_number: float = 0.5,
    ) -> None:
        self.rig = Rig(script, environ, circuits=circuits)
        self.clock = SkewedClock(ahead_s)
        self.rig.clock.epoch_s = self.clock.epoch_s  # type: ignore[method-assign]
        self.applied = 0
        self.health: Health = self.rig.pool.health
        self.sharing = Sharing(
            bulletin,
            health=self.health,
            learner=self.rig.learner,
            pool=self.rig.pool,
            clock=self.clock,
            random=lambda: random_number,
            applied=self._apply,
        )
        self.sharing.start()

    def _apply(self) -> None:
        self.applied += 1

    @property
    def calls(self) -> list[str]:
        """The keys that the provider has been called with, since last asked."""
        calls = list(self.rig.upstream.calls)
        self.rig.upstream.calls.clear()
        return calls


def pair(environ: Mapping[str, str], script: Script = good, *, ahead_s: float = 0.0) -> tuple[End, End, Board, Board]:
    """Two workers, the second's clock `ahead_s` of the first's, and their bulletins."""
    boards: list[Board] = []
    first_board, second_board = Board(boards), Board(boards)
    return (
        End(first_board, environ, script),
        End(second_board, environ, script, ahead_s=ahead_s),
        first_board,
        second_board,
    )
