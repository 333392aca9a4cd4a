//! Functions of numbers, without branches, so that whole vectors are computed at once.

/// e^x as 2^n e^r with |r| <= ln(2) / 2, and e^r from the first eight terms of its series, which is
/// within 6e-9. Without a branch, so that whole vectors are computed at once. Below -87 it is 0, above
/// 88 at most e^88.
#[inline(always)]
pub(super) fn exp_f32(x: f32) -> f32 {
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, clamped));
    let mut series = INVERSE_FACTORIALS[0];
    for term in &INVERSE_FACTORIALS[1..] {
        series = series.mul_add(r, *term);
    }
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < -87.0 { 0.0 } else { series * power }
}

/// exp(-L(|x|)) / 2 below 0 and what is left to 1 above, with L(a) = -ln(erfc(a / sqrt(2))) as a polynomial: so that both
/// tails are right without a branch.
#[inline(always)]
pub(super) fn normal_f32(x: f32) -> f32 {
    let size = x.abs().min(FARTHEST);
    let mut series = TAIL[0];
    for term in &TAIL[1..] {
        series = series.mul_add(size, *term);
    }
    let tail = 0.5 * exp_f32(-series * size);
    if x > 0.0 { 1.0 - tail } else { tail }
}

pub(super) fn normal_f64(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

/// L(a) / a on [0, 8], the coefficient of a^10 first: of all polynomials of this degree the one whose largest error of L,
/// times exp(-L) or 1e-4 where that is larger, is the smallest; found by reweighted least squares.
#[expect(clippy::excessive_precision, reason = "as they were found")]
const TAIL: [f32; 11] = [
    -1.338_414_019_6e-9,
    5.528_143_349_3e-8,
    -9.895_095_340_0e-7,
    1.002_776_447_9e-5,
    -6.193_258_912_3e-5,
    2.138_625_202_2e-4,
    -2.647_968_118_4e-5,
    -4.796_047_211_3e-3,
    3.634_313_974_0e-2,
    0.318_308_129_39,
    0.797_884_691_42,
];
/// What lies beyond has a probability below 1e-15.
const FARTHEST: f32 = 8.0;
/// 1 / 7! ... 1 / 0!
const INVERSE_FACTORIALS: [f32; 8] = [
    1.0 / 5040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];
/// 1.5 * 2^23: adding it leaves the nearest integer in the lowest bits.
const ROUND: f32 = 12_582_912.0;
const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln(2) in two parts, the first with so few bits that its product with n is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_right_to_the_last_digits() {
        for step in -8700..=8800 {
            let x = step as f32 / 100.0;
            let (found, expected) = (f64::from(exp_f32(x)), f64::from(x).exp());
            assert!(
                (found / expected - 1.0).abs() < 1.5e-7,
                "{x}: {found:e} {expected:e}"
            );
        }
        assert_eq!(exp_f32(0.0), 1.0);
        assert_eq!(exp_f32(-87.1), 0.0);
        assert_eq!(exp_f32(f32::NEG_INFINITY), 0.0);
        assert!(exp_f32(1e30) > 1e38);
        assert!(exp_f32(f32::NAN).is_nan());
    }

    #[test]
    fn the_gaussian_distribution_is_right_where_it_counts() {
        for step in -20_000..=20_000 {
            let x = step as f32 / 1000.0;
            let (found, expected) = (f64::from(normal_f32(x)), normal_f64(f64::from(x)));
            let tolerance = if x > 0.0 {
                2f64.powi(-24)
            } else {
                3e-8 / f64::from(-x).max(1.0)
            };
            assert!(
                (found - expected).abs() < tolerance,
                "{x}: {found:e} {expected:e}"
            );
        }
        assert_eq!((normal_f32(0.0), normal_f32(30.0)), (0.5, 1.0));
        assert_eq!((normal_f64(0.0), normal_f64(30.0)), (0.5, 1.0));
    }
}
