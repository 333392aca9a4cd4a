/// Sixteen rows of a matrix, and as many neighbours of each as 64 bytes hold. As a tile of weights: those from as many inputs to sixteen
/// outputs, in each row four bytes of inputs for each output.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Tile<E, const DEPTH: usize>(pub [[E; DEPTH]; ROWS]);

impl<E: Copy + Default, const DEPTH: usize> Tile<E, DEPTH> {
    /// Zeros.
    #[inline(always)]
    #[must_use]
    pub fn zeros() -> Self {
        Self([[E::default(); DEPTH]; ROWS])
    }

    /// Where the weight from an input to an output is.
    #[inline(always)]
    #[must_use]
    pub fn place(input: usize, output: usize) -> (usize, usize) {
        let beside = 4 / size_of::<E>();
        (input / beside, output * beside + input % beside)
    }
}

/// Rows of x whose numbers are taken apart.
pub struct Rows<E, const DEPTH: usize, const PARTS: usize> {
    /// `[tiles of rows, depth, PARTS]`; or `[depth]`, each row's parts below one another, where one tile has room for all of them.
    pub(crate) tiles: Vec<Tile<E, DEPTH>>,
    pub(crate) count: usize,
    pub(crate) depth: usize,
}

impl<E, const DEPTH: usize, const PARTS: usize> Default for Rows<E, DEPTH, PARTS> {
    fn default() -> Self {
        Self {
            tiles: Vec::new(),
            count: 0,
            depth: 0,
        }
    }
}

impl<E: Copy + Default, const DEPTH: usize, const PARTS: usize> Rows<E, DEPTH, PARTS> {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Takes rows of so many numbers in place of what was there.
    #[inline(always)]
    pub(crate) fn take<N: Copy>(
        &mut self,
        x: &[N],
        inputs: usize,
        parts: impl Fn(N) -> [E; PARTS],
    ) {
        let count = x.len() / inputs;
        let depth = inputs.div_ceil(DEPTH);
        (self.count, self.depth) = (count, depth);
        let stacked = self.stacked();
        let tiles = match stacked {
            true => depth,
            false => count.div_ceil(ROWS) * depth * PARTS,
        };
        // What earlier numbers left beyond the inputs would count.
        self.tiles.clear();
        self.tiles.resize(tiles, Tile::zeros());
        for (row, x) in x.chunks_exact(inputs).enumerate() {
            for (k, x) in x.chunks(DEPTH).enumerate() {
                let mut split = [[E::default(); DEPTH]; PARTS];
                for (index, x) in x.iter().enumerate() {
                    let parts = parts(*x);
                    for part in 0..PARTS {
                        split[part][index] = parts[part];
                    }
                }
                for (part, split) in split.into_iter().enumerate() {
                    match stacked {
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

    /// Whether one tile has room for all of them.
    pub(crate) fn stacked(&self) -> bool {
        self.count * PARTS <= ROWS
    }
}

/// Rows of a tile of x, and outputs of a tile of weights.
pub const ROWS: usize = 16;
