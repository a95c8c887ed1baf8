"""Products with a matrix from an 8-bit copy of it, and how far from the true ones they can be.

A quarter of the bytes of a float32 matrix are read. Rows and vectors are first turned by a random rotation of
every 64 columns, which changes no product and spreads what stands out in single columns, so that one scale a
row is enough.

What is proven: a row is ``w = s q + d``, where ``q`` are its codes, ``s`` its scale and ``d`` what is lost; a
vector likewise ``h = t p + c`` with 14-bit ``p``. Then ``w . h = s t (q . p) + d . h + s q . c``, and by
Cauchy-Schwarz ``|w . h - s t (q . p)| <= |d| |h| + s |q| |c|``. ``q . p`` is computed in integers, without an
error. All of it is at most ``s`` times one number for a vector, since ``|d| / s`` and ``|q|`` are about the
same for all rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import torch
from torch import Tensor

from specframe.ops.row_maxima import row_topk

_CODES = 127
# A vector in two digits. Of 7 bits each, since CPUs without VNNI add two products in 16 bits.
_DIGIT, _HIGHEST = 64, 63
# Half the distance of float32 numbers around 1: what one operation loses at most.
_UNIT = 2.0**-24
# Operations in float32 between an integer product and an estimate, and room to spare.
_OPERATIONS = 16
# Below, scales would lose bits.
_LEAST_SCALE = 1e-30
_SEED = 0
_TURNED_TOGETHER = 64
_ROWS_AT_ONCE = 8192
# Rows that are coded together: what is computed of them stays in the CPU's caches.
_CODED_AT_ONCE = 256
_ROWS_TRIED = 64


@attrs.frozen(slots=True, eq=False)
class Estimates:
    """What the products are within bounds; N vectors, V rows.

    Attributes:
        values: estimates of ``w . h + b`` [N, V] float32.
        reach: how far they can be off, per unit of a row's scale [N] float32: from the true products, and
            from those in float32, whatever the order of their additions.
        rounding: the part of that which a product in float32 loses itself [N] float32.
    """

    values: Tensor
    reach: Tensor
    rounding: Tensor


class BoundedRows:
    """Estimates the products of vectors with the rows of a matrix.

    Args:
        rows: returns the rows of some numbers [n] int64 as [n, H], on a CPU.
        count: V, how many there are.
        width: H.
        bias: [V], or None.

    Attributes:
        scales: of the rows, in which errors are counted [V] float32.
    """

    def __init__(
        self, rows: Callable[[Tensor], Tensor], count: int, width: int, bias: Tensor | None = None
    ) -> None:
        self._rotation = _rotation()
        self._bias = None if bias is None else bias.detach().float()
        self.scales = torch.empty(count)
        codes = torch.empty(count, _padded(width), dtype=torch.int8)
        lost = norm = 0.0
        for begin in range(0, count, _CODED_AT_ONCE):
            some = slice(begin, min(begin + _CODED_AT_ONCE, count))
            turned = self._turned(rows(torch.arange(some.start, some.stop)).detach())
            self.scales[some], whole = _coded(turned)
            codes[some] = whole
            scale = self.scales[some].double()[:, None]
            off = turned.sub_(scale * whole).norm(dim=1, keepdim=True) / scale.clamp(min=_LEAST_SCALE)
            lost, norm = max(lost, float(off.max())), max(norm, float(whole.norm(dim=1).max()))
        self._lost, self._norm = lost, norm
        self._most_bias = 0.0 if self._bias is None else float(self._bias.abs().max())
        self._product = _IntegerProduct(codes, self.scales)

    @staticmethod
    def bytes_for(count: int, width: int) -> int:
        """Return the bytes that a matrix of so many rows and columns takes here."""
        return count * (_padded(width) + torch.float32.itemsize)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What it holds."""
        bias = () if self._bias is None else (self._bias,)
        return (*self._product.tensors, self.scales, self._rotation, *bias)

    def estimate(self, vectors: Tensor) -> Estimates:
        """Return the products of vectors [N, H] with all rows, within bounds."""
        turned = self._turned(vectors)
        step = turned.abs().amax(dim=1, keepdim=True) / (_HIGHEST * _DIGIT)
        step = step.clamp(min=_LEAST_SCALE).float().double()
        whole = (turned / step).round().clamp(-_HIGHEST * _DIGIT, _HIGHEST * _DIGIT)
        high = (whole / _DIGIT).round()
        values = self._product(high, whole - _DIGIT * high).mul_(step.float())
        size = turned.norm(dim=1)
        rounding = vectors.shape[1] * _UNIT * 1.01 * (self._norm + self._lost) * size
        own = _OPERATIONS * _UNIT * self._norm * size
        reach = self._lost * size + self._norm * (turned - step * whole).norm(dim=1) + rounding + own
        if self._bias is not None:
            values.add_(self._bias)
        # A few parts in a million more: the numbers themselves are rounded.
        return Estimates(values, (reach * (1 + 1e-5)).float(), (rounding * (1 + 1e-5)).float())

    def _turned(self, vectors: Tensor) -> Tensor:
        """Return vectors [n, H] turned [n, H rounded up] float64."""
        width = vectors.shape[1]
        padded = torch.nn.functional.pad(vectors.double(), (0, -width % _TURNED_TOGETHER))
        return (padded.view(len(vectors), -1, _TURNED_TOGETHER) @ self._rotation).flatten(1)

    def at_most(self, estimates: Estimates) -> Tensor:
        """Return the largest that the products can be [N, V]; the estimates are overwritten."""
        values = estimates.values.addcmul_(estimates.reach[:, None], self.scales)
        return values.add_(self.slack) if self.slack else values

    def shortlist(self, estimates: Estimates, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the rows whose products can be the largest; the estimates are overwritten.

        Args:
            estimates: of N vectors.
            count: C, how many rows, at most V.

        Returns:
            The rows [N, C] int64; the largest that the product with each can be [N, C]; and the largest that
            one with any other row can be [N], -inf where there is none.
        """
        highest = self.at_most(estimates)
        bounds, rows = row_topk(highest, min(count + 1, highest.shape[1]))
        if count == highest.shape[1]:
            bounds = torch.nn.functional.pad(bounds, (0, 1), value=-torch.inf)
        return rows[:, :count], bounds[:, :count].float(), bounds[:, count].float()

    @property
    def slack(self) -> float:
        """What adding the bias can lose, in each product."""
        return 4 * _UNIT * self._most_bias


class _IntegerProduct:
    """Products of 8-bit rows with vectors of two digits: in integers with oneDNN, where those are exact.

    Args:
        codes: [V, H] int8.
        scales: [V].
    """

    def __init__(self, codes: Tensor, scales: Tensor) -> None:
        self._scales = scales
        self._zeros = torch.zeros(len(codes), dtype=torch.int64)
        self._codes: Tensor | None = codes
        self._packed = _packed(codes)
        if self._packed is not None and self._is_exact(codes):
            self._codes = None
        else:
            self._packed = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What it holds."""
        return tuple(each for each in (self._packed, self._codes) if each is not None)

    def __call__(self, high: Tensor, low: Tensor) -> Tensor:
        """Return the products of 64 times ``high`` and ``low`` [N, H] with the scaled rows [N, V] float32."""
        if self._packed is None:
            assert self._codes is not None
            vectors, scales = (_DIGIT * high + low).double(), self._scales.double()
            parts = [
                torch.nn.functional.linear(vectors, codes.double())
                for codes in self._codes.split(_ROWS_AT_ONCE)
            ]
            return (torch.cat(parts, dim=1) * scales).float()
        found = self._multiply(torch.cat([high, low]), self._scales)
        count = len(high)
        return found[count:].add_(found[:count], alpha=_DIGIT)

    def _multiply(self, digits: Tensor, scales: Tensor) -> Tensor:
        shifted = (digits + _DIGIT).to(torch.uint8)
        found: Tensor = torch.ops.onednn.qlinear_pointwise(
            shifted,
            1.0,
            _DIGIT,
            self._packed,
            scales,
            self._zeros,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return found

    def _is_exact(self, codes: Tensor) -> bool:
        """Return whether the largest digits come out right on some rows."""
        width = codes.shape[1]
        generator = torch.Generator().manual_seed(_SEED)
        digits = torch.randint(-_HIGHEST, _HIGHEST + 1, (4, width), generator=generator)
        digits[0], digits[1] = _HIGHEST, -_HIGHEST
        digits[2] = codes[0].sign() * _HIGHEST
        rows = torch.linspace(0, len(codes) - 1, min(_ROWS_TRIED, len(codes))).long()
        try:
            found = self._multiply(digits, torch.ones_like(self._scales))
        except RuntimeError:
            return False
        return torch.equal(found[:, rows], (digits.double() @ codes[rows].double().T).float())


def _packed(codes: Tensor) -> Tensor | None:
    """Return the rows as oneDNN multiplies by them, or None where it does not."""
    if not torch.backends.mkldnn.is_available():
        return None
    try:
        packed: Tensor = torch.ops.onednn.qlinear_prepack(codes, None)
    except (RuntimeError, AttributeError):
        return None
    return packed


def _coded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scales [n] float32 and codes [n, H] of rows [n, H], both float64; 0 for a row of zeros."""
    most = torch.linalg.vector_norm(rows, torch.inf, dim=1)
    scale = torch.where(most > 0, (most / _CODES).clamp(min=_LEAST_SCALE), 0.0).float()
    codes = rows / scale.double().clamp(min=_LEAST_SCALE)[:, None]
    return scale, codes.round_().clamp_(-_CODES, _CODES).nan_to_num_()


def _padded(width: int) -> int:
    """Return the columns of codes for so many columns."""
    return math.ceil(width / _TURNED_TOGETHER) * _TURNED_TOGETHER


def _rotation() -> Tensor:
    """Return a rotation [64, 64] float64, the same every time."""
    size = (_TURNED_TOGETHER, _TURNED_TOGETHER)
    random = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(_SEED))
    rotation: Tensor = torch.linalg.qr(random).Q
    return rotation
