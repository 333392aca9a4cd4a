use super::{BYTES, DEPTH, MOST_INPUTS, ROWS, STACKED, Tile};

/// Rows of x, in bytes.
#[derive(Default)]
pub struct Rows {
    /// `[tiles of rows, depth, BYTES]`; or `[depth]`, each row's bytes below one another, where one tile has room for all of them.
    pub(super) tiles: Vec<Tile>,
    pub(super) count: usize,
    pub(super) depth: usize,
}

impl Rows {
    /// Takes rows of so many numbers in place of what was there.
    ///
    /// # Panics
    /// If there are none, or more than [`MOST_INPUTS`].
    #[inline(always)]
    pub fn set(&mut self, x: &[u32], inputs: usize) {
        assert!(inputs <= MOST_INPUTS, "{inputs} inputs");
        let count = x.len() / inputs;
        let depth = inputs.div_ceil(DEPTH);
        (self.count, self.depth) = (count, depth);
        let tiles = match self.stacked() {
            true => depth,
            false => count.div_ceil(ROWS) * depth * BYTES,
        };
        // What earlier numbers left beyond the inputs would count.
        self.tiles.clear();
        self.tiles.resize(tiles, Tile::ZERO);
        for (row, x) in x.chunks_exact(inputs).enumerate() {
            for (k, x) in x.chunks(DEPTH).enumerate() {
                let mut split = [[0; DEPTH]; BYTES];
                for (index, x) in x.iter().enumerate() {
                    for (byte, split) in split.iter_mut().enumerate() {
                        split[index] = (*x >> (8 * byte)) as u8;
                    }
                }
                for (byte, split) in split.into_iter().enumerate() {
                    match count <= STACKED {
                        true => self.tiles[k].0[row * BYTES + byte] = split,
                        false => {
                            let tile = (row / ROWS * depth + k) * BYTES + byte;
                            self.tiles[tile].0[row % ROWS] = split;
                        }
                    }
                }
            }
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether one tile has room for all of them.
    pub(super) fn stacked(&self) -> bool {
        self.count <= STACKED
    }
}
