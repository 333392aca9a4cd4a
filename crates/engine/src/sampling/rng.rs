/// xoshiro256++ 1.0 (Blackman and Vigna, <https://prng.di.unimi.it>), its state filled by
/// SplitMix64. Not for secrets: it only makes answers repeatable on every machine
/// and in every version.
#[derive(Debug, Clone)]
pub(super) struct Rng([u64; 4]);

impl Rng {
    /// Stream `stream` of `seed`: the state is filled by SplitMix64 from mix(seed) xor
    /// mix(not stream), so that neighbouring seeds and streams start at unrelated places.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut fill = SplitMix64(SplitMix64(seed).next() ^ SplitMix64(!stream).next());
        Self([fill.next(), fill.next(), fill.next(), fill.next()])
    }

    /// Uniform in [0, 1), a multiple of 2^-53.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sequences_come_out() {
        let mut split = SplitMix64(1_234_567);
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!([split.next(), split.next(), split.next()], expected);
        let mut rng = Rng([1, 2, 3, 4]);
        let expected = [41_943_041, 58_720_359, 3_588_806_011_781_223];
        assert_eq!([rng.next(), rng.next(), rng.next()], expected);
    }

    #[test]
    fn neighbouring_streams_are_uniform_and_uncorrelated() {
        const DRAWS: usize = 20_000;
        for (a, b) in [((7, 0), (7, 1)), ((7, 0), (8, 0)), ((0, 1), (1, 0))] {
            let (mut a, mut b) = (Rng::new(a.0, a.1), Rng::new(b.0, b.1));
            let (mut mean, mut product) = (0.0, 0.0);
            for _ in 0..DRAWS {
                let (x, y) = (a.unit() - 0.5, b.unit() - 0.5);
                assert!((-0.5..0.5).contains(&x));
                mean += x / DRAWS as f64;
                product += x * y / DRAWS as f64;
            }
            // Five standard deviations of the mean (sqrt(1/12)) and of the product (1/12).
            let sigma = 1.0 / (DRAWS as f64).sqrt();
            assert!(mean.abs() < 5.0 * 0.2887 * sigma, "{mean}");
            assert!(product.abs() < 5.0 / 12.0 * sigma, "{product}");
        }
    }
}
