"""Reinforcement learning with memory: a whole rollout, episode ends inside, in one `unroll`.

A T-maze: a sign at the start of a corridor says left or right, and at its far end the agent has to
turn that way. Without memory it can only guess: half of its turns are right. A recurrent policy is
trained by proximal policy optimisation (Schulman et al. 2017): act for some steps in many mazes at
once, then improve the policy on what happened, several times over.

Episodes end at any time, and the state must start afresh there. So agents are used to replay a
rollout step by step in Python, wiping the state of those that begin anew: `by_hand` below. `reset=`
does it in one call: `at_once`. Run it: python examples/recurrent_policy.py
"""

import copy
import time
from typing import NamedTuple

import torch
from torch import Tensor, nn

import bptt

MAZES, STEPS, UPDATES, EPOCHS = 32, 64, 60, 4
DISCOUNT, TRACE, CLIP = 0.97, 0.9, 0.2
WALK, LEFT, RIGHT = 0, 1, 2


class Mazes:
    """T-mazes side by side, with corridors of 4 to 8 steps; a new one begins where one ends."""

    def __init__(self, count: int) -> None:
        self.side, self.length, self.place = torch.zeros(3, count, dtype=torch.long).unbind()
        self.begin(torch.ones(count, dtype=torch.bool))

    def begin(self, ended: Tensor) -> None:
        count = len(ended)
        self.side = torch.where(ended, torch.randint(LEFT, RIGHT + 1, (count,)), self.side)
        self.length = torch.where(ended, torch.randint(4, 9, (count,)), self.length)
        self.place = torch.where(ended, 0, self.place)

    def seen(self) -> Tensor:
        """(B, 3): the sign, at the start alone; whether this is the junction; walls elsewhere."""
        start, junction = self.place == 0, self.place == self.length
        sign = start * (2.0 * (self.side == RIGHT) - 1)
        return torch.stack([sign, junction.float(), (~start & ~junction).float()], 1)

    def step(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """Rewards and which mazes ended, (B,). Walls hurt; a turn at the junction ends a maze."""
        junction, turned = self.place == self.length, action != WALK
        ended, bumped = junction & turned, junction ^ turned
        reward = ended * torch.where(action == self.side, 1.0, -1.0) - 0.1 * bumped
        self.place = self.place + (~junction & ~turned)
        self.begin(ended)
        return reward, ended


class Policy(nn.Module):
    """A recurrent cell, and read-outs for what to do and for what to expect."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3, units)  # any cell will do
        self.act, self.expect = nn.Linear(units, 3), nn.Linear(units, 1)


class Rollout(NamedTuple):
    """What happened: seen (T, B, 3); begun, action, log_chance, reward, ended (T, B)."""

    state: Tensor  # (B, H) before the first step, carried over from the rollout before
    seen: Tensor
    begun: Tensor  # an episode begins before this step
    action: Tensor
    log_chance: Tensor
    reward: Tensor
    ended: Tensor
    beyond: Tensor  # (B,) what the policy expects after the last step


@torch.no_grad()
def play(policy: Policy, mazes: Mazes, state: Tensor, begun: Tensor) -> tuple[Rollout, Tensor]:
    """Act for some steps; what happened, and the state after it. Acting is step by step anyway."""
    first, happened = state, []
    for _ in range(STEPS):
        seen = mazes.seen()
        state = policy.cell(seen, torch.where(begun[:, None], 0.0, state))
        choice = torch.distributions.Categorical(logits=policy.act(state))
        action = choice.sample()
        reward, ended = mazes.step(action)
        happened.append((seen, begun, action, choice.log_prob(action), reward, ended))
        begun = ended
    beyond = policy.expect(policy.cell(mazes.seen(), state))[:, 0]
    return Rollout(first, *map(torch.stack, zip(*happened, strict=True)), beyond), state


def by_hand(policy: Policy, rollout: Rollout) -> Tensor:
    """States (T, B, H), as agents replay a rollout today."""
    state, states = rollout.state, []
    for seen, begun in zip(rollout.seen, rollout.begun, strict=True):
        state = policy.cell(seen, state * (~begun)[:, None])
        states.append(state)
    return torch.stack(states)


def at_once(policy: Policy, rollout: Rollout) -> Tensor:
    """The same states, from one call."""
    return bptt.unroll(policy.cell, rollout.seen, rollout.state, reset=rollout.begun)[0]


def advantages(rollout: Rollout, value: Tensor) -> Tensor:
    """(T, B) how much better than expected each action was (Schulman et al. 2016)."""
    found, later, beyond = torch.zeros_like(value), torch.zeros_like(value[0]), rollout.beyond
    for t in reversed(range(STEPS)):
        goes_on = ~rollout.ended[t]
        error = rollout.reward[t] + DISCOUNT * goes_on * beyond - value[t]
        later = error + DISCOUNT * TRACE * goes_on * later
        found[t], beyond = later, value[t]
    return found


def loss(policy: Policy, states: Tensor, rollout: Rollout, gain: Tensor, goal: Tensor) -> Tensor:
    """Better actions likelier, within CLIP; expectations right; some curiosity left."""
    choice = torch.distributions.Categorical(logits=policy.act(states))
    ratio = (choice.log_prob(rollout.action) - rollout.log_chance).exp()
    better = torch.minimum(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain).mean()
    off = (policy.expect(states)[..., 0] - goal).square().mean()
    return 0.5 * off - better - 0.01 * choice.entropy().mean()


def improve(policy: Policy, optimizer: torch.optim.Optimizer, rollout: Rollout) -> None:
    """A few updates on one rollout."""
    with torch.no_grad():
        value = policy.expect(at_once(policy, rollout))[..., 0]
        gain = advantages(rollout, value)
        goal, gain = gain + value, (gain - gain.mean()) / (gain.std() + 1e-6)
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        loss(policy, at_once(policy, rollout), rollout, gain, goal).backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
        optimizer.step()


def train(units: int) -> tuple[Policy, Rollout]:
    policy, mazes = Policy(units), Mazes(MAZES)
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    state, begun = torch.zeros(MAZES, units), torch.ones(MAZES, dtype=torch.bool)
    for update in range(UPDATES):
        rollout, state = play(policy, mazes, state, begun)
        begun = rollout.ended[-1]
        improve(policy, optimizer, rollout)
        if update % 10 == 9:
            print(f"rollout {update + 1:3}  turned the right way {success(rollout):.0%}")
    return policy, play(policy, mazes, state, begun)[0]


def success(rollout: Rollout) -> float:
    """The share of finished episodes whose turn was right."""
    return (rollout.reward[rollout.ended] > 0).float().mean().item()


def gradients(way, policy: Policy, rollout: Rollout) -> list[Tensor]:
    """Of a loss of all states, by one of the two ways."""
    policy.zero_grad()
    states = way(policy, rollout)
    policy.act(states).logsumexp(-1).mean().backward()
    return [p.grad.clone() for p in policy.cell.parameters()]


def seconds(way, policy: Policy, rollout: Rollout) -> float:
    start = time.perf_counter()
    gradients(way, policy, rollout)
    return time.perf_counter() - start


torch.manual_seed(0)
policy, rollout = train(units=32)
print(f"after training {success(rollout):.0%}; without memory at best 50%")

exact = copy.deepcopy(policy).double()
numbers = Rollout(*(x.double() if x.is_floating_point() else x for x in rollout))
pairs = zip(gradients(by_hand, exact, numbers), gradients(at_once, exact, numbers), strict=True)
gap = max(((a - b).norm() / a.norm()).item() for a, b in pairs)
print(f"episode ends inside the rollout: {rollout.begun[1:].sum().item()}")
print(f"gradients at once and by hand differ by {gap:.0e}")
assert gap < 1e-12

times = [(seconds(by_hand, policy, rollout), seconds(at_once, policy, rollout)) for _ in range(9)]
hand, once = map(min, zip(*times, strict=True))
print(f"replayed forward and backward: {1e3 * hand:.1f} ms by hand, {1e3 * once:.1f} ms at once")
print(f"at once is {hand / once:.1f} times as fast")
