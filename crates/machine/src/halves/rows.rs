use super::{DEPTH, PARTS, ROWS, STACKED, Tile, parts};

/// Rows of x, in parts.
#[derive(Default)]
pub struct Rows {
    /// `[tiles of rows, depth, PARTS]`; or `[depth]`, each row's parts below one another, where one tile has room for all of them.
    pub(super) tiles: Vec<Tile>,
    pub(super) count: usize,
    pub(super) depth: usize,
}

impl Rows {
    /// Takes rows of so many inputs in place of what was there.
    ///
    /// # Panics
    /// If there are no inputs.
    #[inline(always)]
    pub fn set(&mut self, x: &[f32], inputs: usize) {
        let count = x.len() / inputs;
        let depth = inputs.div_ceil(DEPTH);
        (self.count, self.depth) = (count, depth);
        let tiles = match self.stacked() {
            true => depth,
            false => count.div_ceil(ROWS) * depth * PARTS,
        };
        // What earlier numbers left beyond the inputs would count.
        self.tiles.clear();
        self.tiles.resize(tiles, Tile::ZERO);
        for (row, x) in x.chunks_exact(inputs).enumerate() {
            for (k, x) in x.chunks(DEPTH).enumerate() {
                let mut split = [[0; DEPTH]; PARTS];
                for (index, x) in x.iter().enumerate() {
                    let [first, second, third] = parts(*x);
                    split[0][index] = first;
                    split[1][index] = second;
                    split[2][index] = third;
                }
                for (part, split) in split.into_iter().enumerate() {
                    match count <= STACKED {
                        true => self.tiles[k].0[row * PARTS + part] = split,
                        false => {
                            let tile = (row / ROWS * depth + k) * PARTS + part;
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
