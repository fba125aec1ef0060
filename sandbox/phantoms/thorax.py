"""A thorax drawn voxel by voxel, so that lung volume, LAA-950 and Perc15 are known exactly; used by sandbox.phantoms.

Lengths are mm in the patient system (x to the left, y to the back, z to the head). Along z the body is drawn in
shares of the scan length, so a short scan holds small but whole lungs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

FIELD_OF_VIEW_MM = 380.0
AIR, FAT, MUSCLE, BLOOD, LIVER, MARROW, CORTEX = -1000, -95, 50, 42, 58, 190, 620
LAA_HU, LUNG_HU = -950, -500
RIGHT, LEFT = -1, 1
HILUM_X, HILUM_Y, HILUM_Z = 34.0, 12.0, 0.0
CARINA_Z, BRONCHUS_END_Z, BRONCHUS_END_X = 0.22, -0.08, 50.0
TRACHEA_Y, TRACHEA_MM, BRONCHUS_MM = 22.0, 8.0, 6.0


@dataclass(frozen=True)
class Plan:
    """What to draw."""

    slices: int = 150
    spacing: float = 2.0
    matrix: int = 256
    emphysema: float = 0.12
    seed: int = 7

    @property
    def pixel(self) -> float:
        """Pixel spacing in mm."""
        return FIELD_OF_VIEW_MM / self.matrix


@dataclass(frozen=True)
class Truth:
    """The exact answers for the voxels as drawn."""

    lung_volume_ml: float
    laa_950_percent: float
    perc15_hu: float


@dataclass(frozen=True)
class Thorax:
    """HU from feet to head, the lung voxels and the answers."""

    hu: NDArray[np.int16]
    lungs: Mask
    truth: Truth


@dataclass(frozen=True)
class _Grid:
    """Coordinates that broadcast to the whole volume; `zn` runs from -1 (feet) to 1 (head)."""

    x: Array
    y: Array
    zn: Array
    z: Array
    pixel: float


def draw(plan: Plan) -> Thorax:
    """The thorax of this plan; the same plan gives the same voxels."""
    rng = np.random.default_rng(plan.seed)
    grid = _grid(plan)
    hu = np.full((plan.slices, plan.matrix, plan.matrix), AIR, dtype=np.float32)
    _paint_table(hu, grid)
    inner = _paint_wall(hu, grid)
    lungs = _lung_shape(grid) & inner
    _paint_organs(hu, grid, lungs)
    lungs &= ~_paint_airways(hu, grid)
    lungs &= ~_paint_vessels(hu, grid, lungs, rng)
    hu += rng.standard_normal(hu.shape, dtype=np.float32) * 11
    hu[lungs] = _parenchyma(lungs, grid, plan.emphysema, rng)
    whole = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    return Thorax(hu=whole, lungs=lungs, truth=_truth(whole[lungs], plan))


def _truth(values: NDArray[np.int16], plan: Plan) -> Truth:
    """Counted, not measured: sorted values instead of the percentile and histogram code under test."""
    ordered = np.sort(values)
    return Truth(
        lung_volume_ml=values.size * plan.pixel**2 * plan.spacing / 1000,
        laa_950_percent=100 * int(np.searchsorted(ordered, LAA_HU)) / values.size,
        perc15_hu=float(ordered[int(np.ceil(0.15 * values.size)) - 1]),
    )


def _grid(plan: Plan) -> _Grid:
    centred = (np.arange(plan.matrix, dtype=np.float32) - (plan.matrix - 1) / 2) * plan.pixel
    z = (np.arange(plan.slices, dtype=np.float32) - (plan.slices - 1) / 2) * plan.spacing
    zn = z / (plan.slices * plan.spacing / 2)
    return _Grid(centred[None, None, :], centred[None, :, None], zn[:, None, None], z[:, None, None], plan.pixel)


def _ellipse(grid: _Grid, centre: tuple[float, float], axes: tuple[float, float]) -> Array:
    """Below 1 inside; flat, the same for every slice."""
    return ((grid.x - centre[0]) / axes[0]) ** 2 + ((grid.y - centre[1]) / axes[1]) ** 2


def _ellipsoid(grid: _Grid, centre: tuple[float, float, float], axes: tuple[float, float, float]) -> Mask:
    return _ellipse(grid, centre[:2], axes[:2]) + ((grid.zn - centre[2]) / axes[2]) ** 2 < 1


def _paint_table(hu: Array, grid: _Grid) -> None:
    """A hollow curved table: its closed foam core holds litres of low density outside the body."""
    arc = grid.y - 136 + (grid.x / 48) ** 2
    shell = max(2.0, 1.5 * grid.pixel)
    is_table = (arc > 0) & (arc < 30) & (np.abs(grid.x) < 172)
    is_core = (arc > shell) & (arc < 30 - shell) & (np.abs(grid.x) < 172 - shell)
    hu[:] = np.where(is_core, -930, np.where(is_table, -60, AIR))


def _paint_wall(hu: Array, grid: _Grid) -> Mask:
    """Skin, fat, muscle, ribs, spine and sternum; returns the inside of the rib cage."""
    taper = 1 - 0.10 * np.clip(grid.zn - 0.55, 0, 1) / 0.45
    outline = _ellipse(grid, (0, 4), (170, 124)) / taper**2
    np.copyto(hu, FAT, where=outline < 1)
    np.copyto(hu, 20, where=(outline < 1) & (outline > 0.97))
    np.copyto(hu, MUSCLE, where=outline < 0.82)
    cage = _ellipse(grid, (0, 2), (140, 98)) / taper**2
    # Ribs fall from back to front: a slanted stack of bands on the shell of the cage.
    band = np.mod(grid.z - 0.45 * grid.y, 27.0)
    is_rib = (cage > 0.90) & (cage < 1.06) & (band < 10) & (np.abs(grid.x) > 22)
    is_core = (cage > 0.94) & (cage < 1.02) & (band > 2) & (band < 8)
    np.copyto(hu, CORTEX, where=is_rib)
    np.copyto(hu, MARROW, where=is_rib & is_core)
    _paint_spine(hu, grid)
    np.copyto(hu, 320, where=(_ellipse(grid, (0, -95), (19, 7)) < 1) & (grid.zn > -0.35))
    inner: Mask = cage < 0.84
    return inner


def _paint_spine(hu: Array, grid: _Grid) -> None:
    body = _ellipse(grid, (0, 70), (20, 17))
    is_disc = np.mod(grid.z, 26.0) < 5
    np.copyto(hu, np.where(is_disc, np.float32(90), np.where(body < 0.78, MARROW, CORTEX)), where=body < 1)
    arch = _ellipse(grid, (0, 94), (17, 12))
    np.copyto(hu, CORTEX - 150, where=(arch < 1) & ~is_disc)
    np.copyto(hu, 25, where=_ellipse(grid, (0, 93), (10, 8)) < 1)
    np.copyto(hu, CORTEX - 150, where=(np.abs(grid.x) < 4) & (grid.y > 104) & (grid.y < 120) & ~is_disc)


def _lung_shape(grid: _Grid) -> Mask:
    """Two tapering columns over a domed diaphragm, with the mediastinum and the heart between them."""
    height = (grid.zn + 0.05) / 0.83
    size = np.where(height > 0, (1 - np.clip(height, 0, 1) ** 2.6) ** 0.42, (1 - np.clip(-height, 0, 1) ** 8) ** 0.125)
    size = np.maximum(size, 1e-3).astype(np.float32)
    lungs = np.zeros((grid.zn.shape[0], grid.y.shape[1], grid.x.shape[2]), dtype=bool)
    for side, dome in ((RIGHT, 0.50), (LEFT, 0.40)):
        middle = side * (70 - 22 * np.clip(height, 0, 1))
        column = ((grid.x - middle) / (60 * size)) ** 2 + ((grid.y - 4) / (84 * size)) ** 2 < 1
        # In front the lungs come close to the midline, behind the spine keeps them apart.
        is_lateral = side * grid.x > 16 + 8 * np.clip((grid.y + 20) / 40, 0, 1)
        lungs |= column & is_lateral & ~_ellipsoid(grid, (side * 66, -6, -1.0), (86, 112, dome))
    lungs &= _ellipse(grid, (0, 70), (29, 24)) > 1
    lungs &= ~_ellipsoid(grid, (26, -26, -0.28), (60, 52, 0.42))
    return lungs


def _paint_organs(hu: Array, grid: _Grid, lungs: Mask) -> None:
    is_free = ~lungs
    for side, tissue in ((RIGHT, LIVER), (LEFT, 30)):
        np.copyto(hu, tissue, where=_ellipsoid(grid, (side * 62, -6, -1.0), (78, 82, 0.5)) & is_free)
    np.copyto(hu, FAT + 15, where=(_ellipse(grid, (0, -45), (24, 32)) < 1) & (grid.zn > 0.05) & is_free)
    np.copyto(hu, FAT, where=_ellipsoid(grid, (27, -31, -0.28), (57, 46, 0.40)) & is_free)
    np.copyto(hu, BLOOD, where=_ellipsoid(grid, (26, -22, -0.28), (55, 46, 0.38)) & is_free)
    np.copyto(hu, BLOOD + 18, where=(_ellipse(grid, (21, 52), (12, 12)) < 1) & (grid.zn < 0.4) & is_free)
    ascending = (_ellipse(grid, (-8, -30), (15, 15)) < 1) & (np.abs(grid.zn - 0.22) < 0.2)
    np.copyto(hu, BLOOD + 18, where=ascending & is_free)


def _paint_airways(hu: Array, grid: _Grid) -> Mask:
    """Trachea and two main bronchi, open into the lungs at their lower end as in life; walls and lumen are no lung."""
    wall = max(1.6, 1.5 * grid.pixel)
    fall = np.clip((CARINA_Z - grid.zn) / (CARINA_Z - BRONCHUS_END_Z), 0, 1)
    radius = np.where(grid.zn > CARINA_Z, TRACHEA_MM, BRONCHUS_MM)
    rows = slice(*np.searchsorted(grid.y.ravel(), (TRACHEA_Y - 25, TRACHEA_Y + 25)))
    nearest = np.full((hu.shape[0], rows.stop - rows.start, hu.shape[2]), np.inf, dtype=np.float32)
    for side in (RIGHT, LEFT):
        across = (grid.x - side * fall * BRONCHUS_END_X) / (1 + 0.35 * (fall > 0))
        np.minimum(nearest, np.hypot(across, grid.y[:, rows] - TRACHEA_Y) - radius, out=nearest)
    reaches = grid.zn > BRONCHUS_END_Z
    airways = np.zeros(hu.shape, dtype=bool)
    airways[:, rows] = (nearest < wall) & reaches
    hu[airways] = 20
    np.copyto(hu[:, rows], AIR, where=(nearest < 0) & reaches)
    return airways


def _paint_vessels(hu: Array, grid: _Grid, lungs: Mask, rng: np.random.Generator) -> Mask:
    """Branches from the hilum to points in the lung, thinning outwards."""
    vessels = np.zeros_like(lungs)
    places = np.argwhere(lungs[::4, ::4, ::4]) * 4
    ends = rng.choice(places, size=90, replace=False)
    for z_index, row, column in ends:
        side = LEFT if grid.x[0, 0, column] > 0 else RIGHT
        start = np.array([HILUM_Z * float(grid.z[-1, 0, 0]), HILUM_Y, side * HILUM_X])
        end = np.array([grid.z[z_index, 0, 0], grid.y[0, row, 0], grid.x[0, 0, column]])
        bend = (start + end) / 2 + rng.normal(0, 9, 3)
        for share in np.linspace(0, 1, 70):
            centre = (1 - share) ** 2 * start + 2 * share * (1 - share) * bend + share**2 * end
            _paint_ball(vessels, grid, centre, 3.6 * (1 - share) ** 0.8 + 0.9)
    vessels &= lungs
    hu[vessels] = BLOOD
    return vessels


def _paint_ball(target: Mask, grid: _Grid, centre: NDArray[np.float64], radius: float) -> None:
    axes = (grid.z.ravel(), grid.y.ravel(), grid.x.ravel())
    spans = [slice(*np.searchsorted(axis, (c - radius, c + radius))) for axis, c in zip(axes, centre, strict=True)]
    z, y, x = (axis[span] - c for axis, span, c in zip(axes, spans, centre, strict=True))
    target[tuple(spans)] |= z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2 < radius**2


def _parenchyma(lungs: Mask, grid: _Grid, emphysema: float, rng: np.random.Generator) -> Array:
    """Lung values: denser towards the back; the asked share lies in low-density clusters, more of them at the top."""
    places = np.nonzero(lungs)
    values = -868 + 0.35 * grid.y[0, places[1], 0] + rng.standard_normal(len(places[0]), dtype=np.float32) * 22
    values = np.clip(values, LAA_HU, -700)
    count = round(emphysema * len(values))
    if count:
        field = _cluster_field(places, grid, rng)
        low = np.argpartition(-field, count - 1)[:count]
        values[low] = np.clip(rng.normal(-978, 11, count), -1010, LAA_HU - 1)
    parenchyma: Array = values.astype(np.float32)
    return parenchyma


def _cluster_field(places: tuple[NDArray[np.intp], ...], grid: _Grid, rng: np.random.Generator) -> Array:
    """Smooth noise with a grain of a secondary lobule (about 9 mm), read at the lung voxels only."""
    grain = 9.0
    coords = (grid.z[places[0], 0, 0], grid.y[0, places[1], 0], grid.x[0, 0, places[2]])
    coarse = [(axis - axis.min()) / grain for axis in coords]
    noise = rng.standard_normal(tuple(int(axis.max()) + 2 for axis in coarse), dtype=np.float32)
    field: Array = ndimage.map_coordinates(noise, np.array(coarse), order=1, mode="nearest")
    field += 0.35 * grid.zn[places[0], 0, 0]
    return field
