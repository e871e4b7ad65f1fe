"""A phantom: a picture that looks like a colonoscopy, drawn from random numbers, with the mask of its polyp.

The scene is a tube seen from inside and lit from the camera. All its parts are fields over the picture, and lengths are
in picture heights. A colour threshold does not find the polyp: its shape, shading and surface give it away.
"""

from dataclasses import dataclass
from math import cos, pi, sin, tan
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]  # float32 in fact
Bytes = NDArray[np.uint8]


@dataclass
class Scene:
    """What the camera sees, as fields of shape (height, width), and (3, height, width) for the RGB albedo."""

    x: Field  # from the middle, to the right
    y: Field  # from the middle, downwards
    rho: Field  # distance from the vanishing point; depth is 1 / rho
    out_x: Field  # unit vector away from the vanishing point: towards the camera, along the wall
    out_y: Field
    light: Field  # that arrives
    relief: Field  # ups and downs of the wall, whose slopes give shading and glints
    albedo: Field


def phantom(rng: Generator, height: int, width: int) -> tuple[Bytes, Bytes]:
    """Draw one picture and its mask.

    Args:
        rng: Source of every choice; the same state gives the same picture.
        height: Rows, in pixels.
        width: Columns, in pixels.

    Returns:
        The RGB picture, uint8 (height, width, 3), and its mask, uint8 (height, width), 255 on the polyp and 0
        elsewhere. One mask in eight is empty. A polyp is about 8 % to 60 % of the height across.
    """
    scene = _tube(rng, height, width)
    view = _step((rng.uniform(0.58, 0.68) - np.hypot(scene.x, scene.y)) / 0.01)
    polyp = _grow(rng, scene) if rng.random() < 7 / 8 else np.zeros_like(view, dtype=bool)
    picture = (255 * view * _render(rng, scene)).astype(np.uint8)
    mask = (polyp & (view > 0.5)).astype(np.uint8) * np.uint8(255)
    return np.ascontiguousarray(picture.transpose(1, 2, 0)), mask


def _tube(rng: Generator, height: int, width: int) -> Scene:
    """A bent, folded tube with vessels, and a lumen in the picture or beside it."""
    shape = height, width
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    y, x = (rows + 0.5) / height - 0.5, (columns + 0.5 - width / 2) / height
    angle, distance = rng.uniform(0, 2 * pi), rng.uniform(0.1, 0.8)
    dx = x - distance * cos(angle) + 0.05 * _noise(rng, shape, 0.4)
    dy = y - distance * sin(angle) + 0.05 * _noise(rng, shape, 0.4)
    rho = np.hypot(dx, dy) + 0.02
    near = (rho / rng.uniform(0.2, 0.5)) ** 2
    light = rng.uniform(0.8, 1.7) * near / (1 + near) + 0.05
    relief = 0.015 * _noise(rng, shape, 0.25) + 0.0005 * _noise(rng, shape, 0.025)
    return Scene(x, y, rho, dx / rho, dy / rho, light * _folds(rng, rho), relief, _mucosa(rng, shape))


def _folds(rng: Generator, rho: Field) -> Field:
    """Share of light left by rings about the lumen: each begins in the dark behind the lit crest of the one before."""
    phase = (rng.uniform(1, 2) * np.log(rho) + 0.35 * _noise(rng, rho.shape, 0.35) + rng.uniform()) % 1
    dark: Field = np.minimum(phase / 0.9, (1 - phase) / 0.1)
    strength: Field = np.clip(0.3 + 0.3 * _noise(rng, rho.shape, 0.4), 0, 0.75) * _step(rho / 0.3)
    return 1 - strength * dark**2


def _mucosa(rng: Generator, shape: tuple[int, ...]) -> Field:
    """Pink to orange, blotched, soiled in places; vessels run where noise is zero: thin lines that fork and meet."""
    pink, orange, dirt = _rgb(0.85, 0.37, 0.32), _rgb(0.85, 0.40, 0.18), _rgb(0.78, 0.50, 0.15)
    lines = np.exp(-((_noise(rng, shape, 0.17) / 0.10) ** 2)) + 0.7 * np.exp(-((_noise(rng, shape, 0.07) / 0.13) ** 2))
    veins: Field = rng.uniform(0, 0.7) * lines * np.clip(0.5 + 0.5 * _noise(rng, shape, 0.3), 0, 1)
    soil = rng.uniform(0, 0.8) * _step(_noise(rng, shape, 0.2) + 0.5 * _noise(rng, shape, 0.05) - 1.2)
    blotch = 1 + 0.07 * _noise(rng, shape, 0.2) + 0.04 * _noise(rng, shape, 0.03)
    wall = (pink + rng.uniform() * (orange - pink)) * (1 - veins * _rgb(0.2, 0.55, 0.45))
    return (wall + soil * (dirt - wall)) * blotch


def _grow(rng: Generator, scene: Scene) -> NDArray[np.bool_]:
    """Put a polyp on the wall and return where it is."""
    shape = scene.rho.shape
    place = rng.choice(np.flatnonzero((np.hypot(scene.x, scene.y) < 0.4) & (scene.rho > 0.25)))
    size = rng.triangular(0.08, 0.6, 0.6) / 2
    x, y = (scene.x - scene.x.flat[place]) / size, (scene.y - scene.y.flat[place]) / size
    theta, stretch = np.arctan2(y, x), rng.uniform(0, 0.2)
    waves = [rng.normal(0, 0.08 / k) * np.cos(k * theta + rng.uniform(0, 2 * pi)) for k in (3, 4, 5, 6)]
    edge: Field = np.hypot(x, y) * (1 + stretch * np.cos(2 * theta + rng.uniform(0, 2 * pi)) + sum(waves))
    body = _step((1 - edge) * rng.uniform(2, 10))

    lit = float(scene.light.flat[place]) * rng.uniform(0.9, 1.3)
    behind = _step(1.7 - np.hypot(x + 0.3 * scene.out_x.flat[place], y + 0.3 * scene.out_y.flat[place]))
    scene.light *= 1 - rng.uniform(0.1, 0.6) * behind
    scene.light += body * (lit - scene.light)
    dome = np.clip(1 - edge**2, 0, 1) ** rng.uniform(0.6, 1.3)
    bumps = 0.02 * _noise(rng, shape, 0.35 * size)
    scene.relief += size * (rng.uniform(0.4, 0.9) * dome + body * bumps) - 0.7 * body * scene.relief
    pale, red = _rgb(1.15, 1.4, 1.4), _rgb(1.1, 0.65, 0.65)
    tint = (pale + rng.uniform() * (red - pale)) * (1 + 0.06 * _noise(rng, shape, 0.03))
    scene.albedo += body * (tint * scene.albedo.mean((1, 2), keepdims=True) - scene.albedo)
    return edge < 1


def _render(rng: Generator, scene: Scene) -> Field:
    """RGB in 0 to 1: diffuse light by the slope to the scope, redder where it is dim, and glints on the wet film."""
    slope_y, slope_x = _slopes(scene.relief)
    uphill = slope_x * scene.out_x + slope_y * scene.out_y
    facing = (1 - tan(rng.uniform(0.15, 0.5)) * uphill) / np.sqrt(1 + slope_x**2 + slope_y**2)
    light = scene.light * np.clip(facing, 0.35, 1.5)
    film_y, film_x = _slopes(0.004 * _noise(rng, light.shape, 0.04) * _step(_noise(rng, light.shape, 0.25)))
    angle = rng.uniform(0, 2 * pi)
    off = np.hypot(slope_x + film_x - 0.3 * cos(angle), slope_y + film_y - 0.3 * sin(angle))
    glint = _step((rng.uniform(0.05, 0.15) - off) / 0.05) * _step(2 * light - 0.5)
    colour: Field = 1 - np.exp(-2 * scene.albedo * light ** _rgb(1, 1.2, 1.3))
    return colour + glint * (0.98 - colour)


def _slopes(relief: Field) -> tuple[Field, Field]:
    """Rise of a relief per length, downwards and to the right."""
    down, right = np.gradient(relief * relief.shape[0])
    return down, right


def _noise(rng: Generator, shape: tuple[int, ...], cell: float) -> Field:
    """Smooth noise of about unit deviation whose blobs are `cell` picture heights wide."""
    rows, columns = (max(2, round(side / shape[0] / cell)) + 1 for side in shape)
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _step(x: Field) -> Field:
    """0 below 0, 1 above 1, smooth between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _rgb(red: float, green: float, blue: float) -> Field:
    """Three numbers, one a channel, of shape (3, 1, 1)."""
    return np.array([red, green, blue], dtype=np.float32).reshape(3, 1, 1)
