"""The physics: softened gravity (G = 1) and the leapfrog step."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

Vector = tuple[float, float, float]
CLUSTER_SPEED = 0.5


@dataclass(frozen=True)
class State:
    """All bodies at one time. The three lists go by body."""

    time: float
    masses: list[float]
    positions: list[Vector]
    velocities: list[Vector]


def cluster(bodies: int, seed: int) -> State:
    """`bodies` equal bodies of total mass 1, random in the unit cube, at rest as a whole."""
    source = random.Random(seed)
    positions = [_vector(source, 1.0) for _ in range(bodies)]
    velocities = [_vector(source, CLUSTER_SPEED) for _ in range(bodies)]
    mean = [sum(velocity[axis] for velocity in velocities) / bodies for axis in range(3)]
    centred = [(x - mean[0], y - mean[1], z - mean[2]) for x, y, z in velocities]
    return State(0.0, [1.0 / bodies] * bodies, positions, centred)


def _vector(source: random.Random, size: float) -> Vector:
    return (source.uniform(-size, size), source.uniform(-size, size), source.uniform(-size, size))


def accelerations(masses: list[float], positions: list[Vector], softening: float) -> list[Vector]:
    """What each body feels from all others. `softening` keeps two that meet from being flung away."""
    result = []
    for here in positions:
        ax = ay = az = 0.0
        for mass, there in zip(masses, positions, strict=True):
            dx, dy, dz = there[0] - here[0], there[1] - here[1], there[2] - here[2]
            square = dx * dx + dy * dy + dz * dz + softening * softening
            pull = mass / (square * math.sqrt(square)) if square else 0.0
            ax, ay, az = ax + pull * dx, ay + pull * dy, az + pull * dz
        result.append((ax, ay, az))
    return result


def step(state: State, dt: float, softening: float) -> State:
    """One leapfrog step of length `dt`: half a kick, a drift, half a kick."""
    pulls = accelerations(state.masses, state.positions, softening)
    half = [_moved(v, a, dt / 2) for v, a in zip(state.velocities, pulls, strict=True)]
    positions = [_moved(x, v, dt) for x, v in zip(state.positions, half, strict=True)]
    pulls = accelerations(state.masses, positions, softening)
    velocities = [_moved(v, a, dt / 2) for v, a in zip(half, pulls, strict=True)]
    return State(state.time + dt, state.masses, positions, velocities)


def _moved(value: Vector, rate: Vector, dt: float) -> Vector:
    return (value[0] + rate[0] * dt, value[1] + rate[1] * dt, value[2] + rate[2] * dt)


def energy(state: State, softening: float) -> float:
    """Kinetic plus potential energy."""
    motion = sum(
        mass * (x * x + y * y + z * z) / 2 for mass, (x, y, z) in zip(state.masses, state.velocities, strict=True)
    )
    bodies = list(zip(state.masses, state.positions, strict=True))
    pairs = ((bodies[i], bodies[j]) for i in range(len(bodies)) for j in range(i))
    return motion - sum(m * n / math.hypot(math.dist(p, q), softening) for (m, p), (n, q) in pairs)
