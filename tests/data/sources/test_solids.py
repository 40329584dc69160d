"""The renderer against brute force and closed forms; objects that stay in the frame and tell their angle."""

import numpy as np
import pytest

from exflow.data.building.render import AMBIENT, LIGHT, Solid, cameras, cast, fit, reach, render
from exflow.data.sources.solids import rotation, solid_of, solids


def random_solid(rng: np.random.Generator, num_parts: int) -> Solid:
    turns = [rotation(0, a) @ rotation(1, b) @ rotation(2, c) for a, b, c in rng.uniform(0, 360, (num_parts, 3))]
    axes = rng.uniform(0.1, 0.5, (num_parts, 3, 1)) * np.stack(turns)
    centre = rng.uniform(-0.4, 0.4, (num_parts, 3))
    return Solid(centre, axes, np.arange(num_parts) % 2 == 0, rng.uniform(0.4, 1, num_parts))


def test_depth_is_that_of_marching_along_every_ray() -> None:
    solid, side, step = random_solid(np.random.default_rng(0), 5), 16, 0.004
    views = cameras(np.array([0.0, 50.0, 230.0]), 35.0)
    depth, _ = cast(solid, views, side)
    heights = np.arange(2, -2, -step)
    pixel = 2 * (np.arange(side) + 0.5) / side - 1
    different = 0
    for number, (right, up, back) in enumerate(views):
        base = pixel[None, :, None] * right - pixel[:, None, None] * up
        points = base[:, :, None, :] + heights[:, None] * back
        inside = np.zeros(points.shape[:3], bool)
        for centre, axes, is_box, _ in zip(*solid, strict=True):
            local = (points - centre) @ np.linalg.inv(axes)
            inside |= (np.abs(local) <= 1).all(axis=-1) if is_box else (local**2).sum(axis=-1) <= 1
        hit = inside.any(axis=-1)
        marched = np.where(hit, heights[inside.argmax(axis=-1)], -np.inf)
        seen = np.isfinite(depth[number])
        different += (seen != hit).sum()
        both = seen & hit
        grazing = np.abs(depth[number][both] - marched[both]) > step + 1e-5
        different += grazing.sum()
    assert np.isfinite(depth).mean() > 0.2
    assert different <= 5  # rays that leave a part within one step


def test_a_ball_is_shaded_by_lambert() -> None:
    ball = Solid(np.zeros((1, 3)), 0.8 * np.eye(3)[None], np.array([False]), np.array([0.9]))
    views = cameras(np.array([0.0, 130.0]), 25.0)
    _, brightness = cast(ball, views, 20)
    pixel = 2 * (np.arange(20) + 0.5) / 20 - 1
    x, y = pixel[None, :] / 0.8, -pixel[:, None] / 0.8
    z = np.sqrt(np.maximum(1 - x**2 - y**2, 0))
    light = LIGHT / np.linalg.norm(LIGHT)
    expected = 0.9 * (AMBIENT + (1 - AMBIENT) * np.maximum(x * light[0] + y * light[1] + z * light[2], 0))
    expected = np.where(x**2 + y**2 < 1, expected, 0)
    np.testing.assert_allclose(brightness, np.broadcast_to(expected, (2, 20, 20)), atol=1e-5)


def test_faces_of_a_box_are_shaded_by_their_normals() -> None:
    box = Solid(np.zeros((1, 3)), np.diag([0.5, 0.4, 0.3])[None], np.array([True]), np.array([1.0]))
    light = LIGHT / np.linalg.norm(LIGHT)
    for azimuth, half_width in ((0.0, 0.4), (90.0, 0.5), (180.0, 0.4)):
        _, brightness = cast(box, cameras(np.array([azimuth]), 0.0), 40)
        lit = brightness[0] > 0
        assert lit.sum() == round(40 * half_width) * round(40 * 0.3)
        np.testing.assert_allclose(brightness[0][lit], AMBIENT + (1 - AMBIENT) * light[2], rtol=1e-3)


def test_objects_turn_counter_clockwise_seen_from_above() -> None:
    """A small ball at distance 0.6 on the x axis starts in front and moves to the right."""
    ball = Solid(np.array([[0.6, 0.0, 0.0]]), 0.1 * np.eye(3)[None], np.array([False]), np.array([1.0]))
    degrees = np.arange(36) * 10.0
    depth, _ = cast(ball, cameras(degrees, 30.0), 80)
    seen, angle = np.isfinite(depth), np.deg2rad(degrees)
    pixel = 2 * (np.arange(80) + 0.5) / 80 - 1
    count = seen.sum(axis=(1, 2))
    right, up = (seen.sum(axis=1) * pixel).sum(axis=1) / count, -(seen.sum(axis=2) * pixel).sum(axis=1) / count
    np.testing.assert_allclose(right, 0.6 * np.sin(angle), atol=0.01)
    np.testing.assert_allclose(up, -0.6 * np.cos(angle) * np.sin(np.pi / 6), atol=0.01)
    np.testing.assert_allclose(depth.max(axis=(1, 2)), 0.1 + 0.6 * np.cos(angle) * np.cos(np.pi / 6), atol=0.01)


def test_fitted_solids_touch_the_frame() -> None:
    views = cameras(np.arange(36) * 10.0, 30.0)
    rng = np.random.default_rng(1)
    signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
    sphere = rng.normal(size=(4000, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    for number in range(4):
        solid = fit(random_solid(rng, 6) if number < 2 else solid_of(0, number), views)
        surface = [
            centre + (signs if is_box else sphere) @ axes for centre, axes, is_box, _ in zip(*solid, strict=True)
        ]
        seen = np.concatenate(surface) @ np.swapaxes(views[:, :2], 1, 2)
        assert 0.97 < np.abs(seen).max() <= 1 + 1e-9
        np.testing.assert_allclose(seen[..., 1].max(), -seen[..., 1].min(), atol=0.02)
        np.testing.assert_allclose(reach(solid, views)[1][:, :2].max(), seen.max(), atol=0.02)


def test_rotation_is_right_handed() -> None:
    for axis in range(3):
        first, second = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
        np.testing.assert_allclose(first @ rotation(axis, 90.0), second, atol=1e-12)
        np.testing.assert_allclose(np.linalg.det(rotation(axis, 33.0)), 1, atol=1e-12)


def test_pixels_are_means_of_rays() -> None:
    solid, views = random_solid(np.random.default_rng(2), 4), cameras(np.array([40.0]), 30.0)
    fine = 255 * cast(solid, views, 24)[1].astype(np.float64)
    expected = fine.reshape(1, 8, 3, 8, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(render(solid, views, 8, 3)[..., 0], expected, atol=0.51)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return solids(32, 10, 1, 1).images.reshape(12, 36, 32, 32).astype(np.float64)


def test_objects_are_functions_of_seed_and_number(pictures) -> None:
    again = solids(32, 1, 1, 1).images.reshape(3, 36, 32, 32)
    np.testing.assert_array_equal(again, pictures[:3])
    assert (solids(32, 1, 1, 1, seed=1).images.reshape(again.shape) != again).any(axis=(1, 2, 3)).all()


def test_objects_fill_the_frame_and_are_not_cut(pictures) -> None:
    border = pictures.copy()
    border[..., 1:-1, 1:-1] = 0
    assert border.max() == 0
    assert ((pictures > 0).mean(axis=(1, 2, 3)) > 0.05).all()
    assert (pictures.max(axis=(1, 2, 3)) > 90).all()


def test_a_view_tells_its_angle(pictures) -> None:
    """No two views of an object are alike, and near angles look more alike than far ones."""
    flat = pictures.reshape(12, 36, -1)
    distance = ((flat[:, :, None] - flat[:, None]) ** 2).mean(axis=-1) / flat.var(axis=-1).mean(axis=1)[:, None, None]
    apart = np.abs(np.arange(36)[:, None] - np.arange(36))
    apart = np.minimum(apart, 36 - apart)
    assert distance[:, apart > 0].min() > 0.02
    assert (distance[:, apart == 1].mean(axis=1) < 0.7 * distance[:, apart == 9].mean(axis=1)).all()
