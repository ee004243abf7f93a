"""A history: some days in the life of a few organizations, the deliveries about it, and the requests of its people."""

import random
from dataclasses import dataclass, field, replace

from clerk_model.clerk import Clerk
from clerk_model.records import Pair, Token
from clerk_model.svix import Attempt, Weather, attempts

_ENDED_MS = 10 * 60_000
"""How long ago a history ended: longer than a token lives, and yet in the recent past."""
_CALM = Weather(fails=0.05, lost=0.02)
_STORM = Weather(fails=0.55, lost=0.1, resent=0.2)
_OUTAGE = Weather(outage=True)


@dataclass(frozen=True)
class Call:
    """A request by somebody with a token: a sibling service asks for the profile, or for the organization alone.

    `tells_iat` is false where the service does not pass on when the token was issued. Then only the wall clock can
    say how old it is at most, and on a clock of its own a history must not do that lightly: see `History.calls`.
    """

    at_ms: int
    token: Token
    tells_iat: bool = True
    only_organization: bool = False


Step = Attempt | Call


@dataclass
class History:
    """`steps` in the order of time; where Clerk ends is in `clerk`.

    Calls without `iat` count as a token of about a minute ago by the wall clock, which is later than everything here.
    So only people call like that who are members to the very end, in one and the same life: of them it is true. With
    `long_lived_tokens` the service is told that tokens may be older than the whole history; then anybody may.
    """

    seed: int
    clerk: Clerk
    weather: Weather
    long_lived_tokens: bool
    largest_wave: int
    """How many steps may be under way at once."""
    steps: list[Step] = field(default_factory=list)


def tell(seed: int, now_ms: int, *, long_lived_tokens: bool = False) -> History:
    """The history of a seed, told such that it ended ten minutes ago; whole seconds are all that `now_ms` moves."""
    length_ms = _Teller(seed, 0, long_lived_tokens=long_lived_tokens).tell().steps[-1].at_ms
    begin_ms = (now_ms - _ENDED_MS - length_ms) // 1000 * 1000
    return _Teller(seed, begin_ms, long_lived_tokens=long_lived_tokens).tell()


def tell_deletions(seed: int, now_ms: int) -> History:
    """Many users and organizations are deleted while the news of their joining is still on its way, all at once."""
    chance = random.Random(seed)
    clerk = Clerk(chance, (now_ms - 2 * _ENDED_MS) // 1000 * 1000)
    told = History(seed, clerk, Weather(), long_lived_tokens=False, largest_wave=64)
    creator = clerk.create_user()
    lasting = clerk.create_organization(creator)
    for _ in range(25):
        user = clerk.create_user()
        organization = clerk.create_organization(creator)
        pairs = [(user, lasting), (user, organization)]
        for pair in pairs:
            clerk.join(pair)
        tokens = [clerk.issue_token(pair) for pair in pairs]
        clerk.now_ms += 1000
        clerk.delete_user(user)
        clerk.delete_organization(organization)
        told.steps += [Call(clerk.now_ms, token) for token in tokens]
        clerk.now_ms += 1000
    told.steps += attempts(chance, clerk.events, Weather(fails=0, lost=0, resent=0))
    # What belongs to one second overlaps in any order.
    told.steps.sort(key=lambda step: (step.at_ms // 2000, chance.random()))
    return told


class _Teller:
    def __init__(self, seed: int, begin_ms: int, *, long_lived_tokens: bool) -> None:
        self._chance = random.Random(seed)
        weather = self._chance.choices([_CALM, Weather(), _STORM, _OUTAGE], [1, 3, 3, 2])[0]
        weather = replace(weather, endpoints=self._chance.choice([1, 2]), same_ids=self._chance.random() < 0.5)
        self._activity = self._chance.choice([0.03, 0.3])
        self._first_request = self._chance.choice([0.1, 0.6])
        self._clerk = Clerk(self._chance, begin_ms)
        self._former: list[Pair] = []
        self._told = History(seed, self._clerk, weather, long_lived_tokens, self._chance.choice([1, 4, 16, 64]))
        self._calls: list[tuple[Call, int]] = []
        """Each with the life of the membership that its token was issued to."""
        self._deeds = {
            self._join: 6,
            self._change_role: 3,
            self._leave: 5,
            self._rename: 2,
            self._create_user: 0.7,
            self._create_organization: 0.5,
            self._change_user: 0.5,
            self._delete_user: 0.5,
            self._delete_organization: 0.4,
            self._clerk.mention_something_else: 0.3,
        }

    def tell(self) -> History:
        for _ in range(self._chance.randint(2, 4)):
            self._create_user()
        for _ in range(self._chance.randint(1, 2)):
            self._create_organization()
        for _ in range(self._chance.randint(10, 40)):
            gap_ms = self._gap_ms()
            self._call_within(gap_ms)
            self._clerk.now_ms += gap_ms
            self._chance.choices(list(self._deeds), list(self._deeds.values()))[0]()
        deliveries = attempts(self._chance, self._clerk.events, self._told.weather)
        self._clerk.now_ms = max(self._clerk.now_ms, self._chance.choice(deliveries).at_ms)
        for _ in range(4):
            self._call_within(1_000)
        self._told.steps = sorted([*deliveries, *self._settled_calls()], key=lambda step: step.at_ms)
        return self._told

    def _gap_ms(self) -> int:
        """Until the next deed: often none at all, as when a program does it, sometimes hours."""
        longest_ms = self._chance.choices([0, 3, 1_000, 60_000, 600_000, 4 * 3_600_000], [2, 3, 4, 3, 2, 2])[0]
        return self._chance.randint(0, longest_ms)

    def _call_within(self, gap_ms: int) -> None:
        """Members are active between two deeds. A token is used until it expires, whatever happens meanwhile."""
        for pair in self._chance.sample(sorted(self._clerk.memberships), k=min(2, len(self._clerk.memberships))):
            if self._chance.random() < self._activity:
                issued_ms = self._clerk.now_ms + self._chance.randint(0, gap_ms)
                self._use(self._clerk.issue_token(pair, issued_ms), from_ms=issued_ms)

    def _use(self, token: Token, *, from_ms: int) -> None:
        life = self._clerk.memberships[token.pair].life
        for _ in range(self._chance.randint(1, 3)):
            soon_ms = from_ms + self._chance.choice([50, 1_000, 10_000, 60_000])
            at_ms = self._chance.randint(from_ms, min(soon_ms, token.expires_at_ms))
            call = Call(at_ms, token, self._chance.random() < 0.85, self._chance.random() < 0.1)
            self._calls.append((call, life))

    def _settled_calls(self) -> list[Call]:
        """Who may call without `iat` is known at the end only."""
        settled = []
        for call, life in self._calls:
            present = self._clerk.memberships.get(call.token.pair)
            to_the_end = present is not None and present.life == life
            tells_iat = call.tells_iat or not (to_the_end or self._told.long_lived_tokens)
            settled.append(replace(call, tells_iat=tells_iat))
        return settled

    def _hold_tokens_of(self, pairs: list[Pair]) -> None:
        """Those about to be removed got a token less than a minute ago and go on using it."""
        for pair in pairs:
            if self._chance.random() < 0.8:
                now_ms = self._clerk.now_ms
                earliest_ms = max(self._clerk.memberships[pair].created_at_ms, now_ms - 59_000)
                issued_ms = self._chance.randint(earliest_ms, now_ms) if now_ms % 1000 else now_ms
                self._use(self._clerk.issue_token(pair, issued_ms), from_ms=now_ms)

    def _join(self) -> None:
        clerk = self._clerk
        absent = [
            (user, organization)
            for user in clerk.users
            for organization in clerk.organizations
            if (user, organization) not in clerk.memberships
        ]
        former = [pair for pair in absent if pair in self._former]
        if absent:
            pair = self._chance.choice(former if former and self._chance.random() < 0.6 else absent)
            clerk.now_ms += 1  # Not in the millisecond in which the same two came together last.
            clerk.join(pair)
            if self._chance.random() < self._first_request:
                self._use(clerk.issue_token(pair), from_ms=clerk.now_ms)

    def _change_role(self) -> None:
        if pairs := sorted(self._clerk.memberships):
            pair = self._chance.choice(pairs)
            for _ in range(self._times()):
                self._clerk.change_role(pair)

    def _leave(self) -> None:
        if pairs := sorted(self._clerk.memberships):
            pair = self._chance.choice(pairs)
            if self._chance.random() < 0.4:
                # On the full second, so that a token may have been issued at the very time of the removal.
                self._clerk.now_ms += -self._clerk.now_ms % 1000
            self._hold_tokens_of([pair])
            self._former.append(pair)
            self._clerk.leave(pair)

    def _rename(self) -> None:
        if self._clerk.organizations:
            organization = self._chance.choice(list(self._clerk.organizations))
            for _ in range(self._times()):
                self._clerk.rename(organization)

    def _times(self) -> int:
        """Some changes come twice within a millisecond."""
        return 2 if self._chance.random() < 0.2 else 1

    def _create_user(self) -> None:
        self._clerk.create_user()

    def _create_organization(self) -> None:
        if self._clerk.users:
            self._clerk.create_organization(self._chance.choice(list(self._clerk.users)))

    def _change_user(self) -> None:
        if self._clerk.users:
            self._clerk.change_user(self._chance.choice(list(self._clerk.users)))

    def _delete_user(self) -> None:
        if self._clerk.users:
            user = self._chance.choice(list(self._clerk.users))
            self._hold_tokens_of([pair for pair in self._clerk.memberships if pair[0] == user])
            self._clerk.delete_user(user)

    def _delete_organization(self) -> None:
        if self._clerk.organizations:
            organization = self._chance.choice(list(self._clerk.organizations))
            self._hold_tokens_of([pair for pair in self._clerk.memberships if pair[1] == organization])
            self._clerk.delete_organization(organization)
