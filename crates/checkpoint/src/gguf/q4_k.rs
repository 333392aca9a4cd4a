//! Q4_K from f32: a search for the scales that give small squared errors.
//!
//! A block of 256 is `x = (d s[i]) q - (e t[i])` in eight parts i of 32, with q of 4 bits, s and t
//! of 6 and d and e in f16. Rounding the range of each part to a grid is not the best that the
//! format can do: a slightly smaller grid, with its largest values clipped, often has a smaller
//! error, and rounding s and t to 6 bits moves the best grid again. So: for each part a line of
//! candidate grids, each improved by the least squares line through its own rounding; then 6-bit
//! scales by trying neighbours; then d and e by least squares over the block. The plain rounding
//! of ranges is one candidate too, so the result is never worse than that.

use half::f16;

/// Fills `block` with the best of the candidates for `x`.
pub(super) fn quantize(x: &[f32; 256], block: &mut [u8; 144]) {
    let parts = x.as_chunks::<PART>().0;
    let ranges: [Line; 8] = each(|i| Line::over_range(&parts[i]));
    let fitted: [Line; 8] = each(|i| Line::fitted(&parts[i]));
    let mut best = Scales::nearest(&fitted).settled(parts);
    for _ in 0..ROUNDS {
        let next = best.refitted(parts).settled(parts);
        if next.error(parts) >= best.error(parts) {
            break;
        }
        best = next;
    }
    let plain = Scales::nearest(&ranges);
    if plain.error(parts) < best.error(parts) {
        best = plain;
    }
    best.pack(parts, block);
}

/// The result of rounding each part's range to its grid, without any search.
#[cfg(test)]
pub(super) fn quantize_plainly(x: &[f32; 256], block: &mut [u8; 144]) {
    let parts = x.as_chunks::<PART>().0;
    Scales::nearest(&each(|i| Line::over_range(&parts[i]))).pack(parts, block);
}

/// `x = a q - b` with a, b >= 0 and q in 0..=15.
#[derive(Clone, Copy)]
struct Line {
    a: f32,
    b: f32,
}

impl Line {
    /// q = 0 at the smallest value, or at zero if none is negative, and q = 15 at the largest.
    fn over_range(x: &[f32; PART]) -> Line {
        let low = x.iter().fold(0.0f32, |low, x| low.min(*x));
        let high = x.iter().fold(low, |high, x| high.max(*x));
        Line {
            a: (high - low) / TOP,
            b: -low,
        }
    }

    /// The best of the least squares lines through the roundings on grids of several widths.
    fn fitted(x: &[f32; PART]) -> Line {
        let range = Line::over_range(x);
        let mut best = (range.error(x), range);
        if range.a <= 0.0 {
            return range;
        }
        for step in WIDTHS {
            let grid = Line {
                a: range.a * TOP / (TOP + step),
                b: range.b,
            };
            let mut line = grid.least_squares(x);
            for _ in 0..2 {
                let error = line.error(x);
                if error >= best.0 {
                    break;
                }
                best = (error, line);
                line = line.least_squares(x);
            }
        }
        best.1
    }

    /// `1 / a`, or 0 where every x is rounded to 0.
    fn inverse(self) -> f32 {
        if self.a > 0.0 { 1.0 / self.a } else { 0.0 }
    }

    /// The integer nearest to `(x + b) / a` that four bits hold.
    fn round(self, inverse: f32, x: f32) -> f32 {
        nearest(((x + self.b) * inverse).clamp(0.0, TOP))
    }

    /// With q as this line rounds x: the a and b that minimise `sum (a q - b - x)^2`, b >= 0.
    fn least_squares(self, x: &[f32; PART]) -> Line {
        let inverse = self.inverse();
        let [mut q1, mut q2, mut x1, mut xq] = [[0.0f32; LANES]; 4];
        for x in x.as_chunks::<LANES>().0 {
            for lane in 0..LANES {
                let q = self.round(inverse, x[lane]);
                q1[lane] += q;
                q2[lane] += q * q;
                x1[lane] += x[lane];
                xq[lane] += x[lane] * q;
            }
        }
        let [q1, q2, x1, xq] = [q1, q2, x1, xq].map(|lanes| lanes.iter().sum::<f32>());
        let n = PART as f32;
        let spread = n * q2 - q1 * q1;
        if spread <= 0.0 {
            return self;
        }
        let a = (n * xq - q1 * x1) / spread;
        let b = (a * q1 - x1) / n;
        if b >= 0.0 && a >= 0.0 {
            Line { a, b }
        } else {
            Line {
                a: (xq / q2).max(0.0),
                b: 0.0,
            }
        }
    }

    fn error(self, x: &[f32; PART]) -> f32 {
        let inverse = self.inverse();
        let mut sums = [0.0f32; LANES];
        for x in x.as_chunks::<LANES>().0 {
            for lane in 0..LANES {
                let off = self.a * self.round(inverse, x[lane]) - self.b - x[lane];
                sums[lane] += off * off;
            }
        }
        sums.iter().sum()
    }
}

/// d, e, s and t of a block.
#[derive(Clone, Copy)]
struct Scales {
    d: f16,
    e: f16,
    s: [f32; 8],
    t: [f32; 8],
}

impl Scales {
    /// d and e such that 63 stands for the largest a and b; s and t rounded to that.
    fn nearest(lines: &[Line; 8]) -> Scales {
        let largest = |value: fn(&Line) -> f32| lines.iter().map(value).fold(0.0f32, f32::max);
        let d = half(largest(|line| line.a) / SIX_BITS);
        let e = half(largest(|line| line.b) / SIX_BITS);
        Scales {
            d,
            e,
            s: each(|i| six_bits(lines[i].a, d)),
            t: each(|i| six_bits(lines[i].b, e)),
        }
    }

    fn line(&self, i: usize) -> Line {
        Line {
            a: self.d.to_f32() * self.s[i],
            b: self.e.to_f32() * self.t[i],
        }
    }

    /// Each s and t at the best of its neighbours.
    fn settled(mut self, parts: &[[f32; PART]]) -> Scales {
        for (i, x) in parts.iter().enumerate() {
            let (s, t) = (self.s[i], self.t[i]);
            let mut best = (f32::INFINITY, s, t);
            for s in [s, s - 1.0, s + 1.0] {
                for t in [t, t - 1.0, t + 1.0] {
                    (self.s[i], self.t[i]) = (s.clamp(0.0, SIX_BITS), t.clamp(0.0, SIX_BITS));
                    let error = self.line(i).error(x);
                    if error < best.0 {
                        best = (error, self.s[i], self.t[i]);
                    }
                }
            }
            (self.s[i], self.t[i]) = (best.1, best.2);
        }
        self
    }

    /// With s, t and q as they are: the d and e that minimise `sum (d s q - e t - x)^2`.
    fn refitted(mut self, parts: &[[f32; PART]]) -> Scales {
        // Normal equations of x = d u - e v with u = s q and v = t.
        let [mut uu, mut uv, mut vv, mut xu, mut xv] = [0.0f64; 5];
        for (i, x) in parts.iter().enumerate() {
            let line = self.line(i);
            let inverse = line.inverse();
            let v = f64::from(self.t[i]);
            for x in x {
                let u = f64::from(self.s[i] * line.round(inverse, *x));
                let x = f64::from(*x);
                uu += u * u;
                uv += u * v;
                vv += v * v;
                xu += x * u;
                xv += x * v;
            }
        }
        let determinant = uu * vv - uv * uv;
        let (d, e) = if determinant > 0.0 {
            (
                (xu * vv - xv * uv) / determinant,
                (xu * uv - xv * uu) / determinant,
            )
        } else if uu > 0.0 {
            (xu / uu, 0.0)
        } else {
            return self;
        };
        if d > 0.0 && e >= 0.0 {
            (self.d, self.e) = (half(d as f32), half(e as f32));
        }
        self
    }

    fn error(&self, parts: &[[f32; PART]]) -> f32 {
        let parts = parts.iter().enumerate();
        parts.map(|(i, x)| self.line(i).error(x)).sum()
    }

    /// The layout is with [`super::quant`]'s reader of Q4_K.
    fn pack(&self, parts: &[[f32; PART]], block: &mut [u8; 144]) {
        block[..2].copy_from_slice(&self.d.to_le_bytes());
        block[2..4].copy_from_slice(&self.e.to_le_bytes());
        for i in 0..4 {
            let [s, t, s4, t4] =
                [self.s[i], self.t[i], self.s[i + 4], self.t[i + 4]].map(|v| v as u8);
            block[4 + i] = s | s4 >> 4 << 6;
            block[8 + i] = t | t4 >> 4 << 6;
            block[12 + i] = s4 & 15 | t4 << 4;
        }
        block[16..].fill(0);
        for (i, x) in parts.iter().enumerate() {
            let line = self.line(i);
            let inverse = line.inverse();
            for (l, x) in x.iter().enumerate() {
                let q = line.round(inverse, *x) as u8;
                block[16 + 32 * (i / 2) + l] |= q << (4 * (i % 2));
            }
        }
    }
}

fn each<T>(value: impl FnMut(usize) -> T) -> [T; 8] {
    std::array::from_fn(value)
}

fn six_bits(value: f32, scale: f16) -> f32 {
    match scale.to_f32() {
        scale if scale > 0.0 => nearest((value / scale).min(SIX_BITS)),
        _ => 0.0,
    }
}

/// The nearest f16; what is too large stays the largest.
fn half(value: f32) -> f16 {
    f16::from_f32(value.min(f16::MAX.to_f32()))
}

/// The nearest integer of a number from 0 to 2^22, ties to even: there is no room for fractions
/// beside 1.5 * 2^23. Unlike `round` this needs no call, so that loops become vectors.
fn nearest(value: f32) -> f32 {
    (value + 12_582_912.0) - 12_582_912.0
}

const PART: usize = 32;
/// Sums are taken in this many columns, so that loops become vectors.
const LANES: usize = 8;
const TOP: f32 = 15.0;
const SIX_BITS: f32 = 63.0;
const ROUNDS: usize = 2;
/// How much finer than the range each candidate grid is, in steps of it.
const WIDTHS: [f32; 12] = [
    -1.5, -1.0, -0.6, -0.3, 0.0, 0.3, 0.6, 0.9, 1.3, 1.8, 2.5, 3.5,
];
