use zeroize::{Zeroize, ZeroizeOnDrop};

/// An invertible map M on one axis or side, as a product of cheap steps. Secret: no Debug, no Clone, cleared on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Element {
    size: usize,
    steps: Vec<Step>,
}

/// One factor of a map; steps act in order.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) enum Step {
    /// y_i = factor_i x_{source_i}.
    Monomial { source: Vec<u32>, factor: Vec<f64> },
    /// Each block mixes its own coordinates: y_{c_r} = sum_k B_{r,k} x_{c_k}, B orthogonal.
    Blocks(Vec<Block>),
}

/// A small orthogonal matrix on some of the coordinates.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Block {
    /// The coordinates it mixes.
    pub(crate) coordinates: Vec<u32>,
    /// Row by row.
    pub(crate) matrix: Vec<f64>,
}

impl Element {
    /// The map of these steps on vectors of `size` coordinates.
    pub(crate) fn new(size: usize, steps: Vec<Step>) -> Self {
        Self { size, steps }
    }

    /// x' = x.
    pub(crate) fn identity(size: usize) -> Self {
        Self::new(size, Vec::new())
    }

    /// y_i = x_{source_i}.
    pub(crate) fn permutation(source: Vec<u32>) -> Self {
        let factor = vec![1.0; source.len()];
        Self::new(source.len(), vec![Step::Monomial { source, factor }])
    }

    /// The number of coordinates.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The factors, first to act first.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// M^-T. Orthogonal blocks are their own dual.
    pub(crate) fn dual(&self) -> Self {
        let steps = self.steps.iter().map(Step::dual).collect();
        Self {
            size: self.size,
            steps,
        }
    }

    /// M^-1.
    pub(crate) fn inverse(&self) -> Self {
        let steps = self.steps.iter().rev().map(Step::inverse).collect();
        Self::new(self.size, steps)
    }

    /// A copy; by name, so that each place that duplicates a secret can be found.
    pub(crate) fn duplicate(&self) -> Self {
        Self {
            size: self.size,
            steps: self.steps.iter().map(Step::duplicate).collect(),
        }
    }

    /// The permutation inside M, if M is monomial: y_i = x_{source_i}.
    pub(crate) fn permutation_part(&self) -> Option<Self> {
        let mut source: Vec<u32> = (0..self.size as u32).collect();
        for step in &self.steps {
            let Step::Monomial { source: next, .. } = step else {
                return None;
            };
            source = next.iter().map(|i| source[*i as usize]).collect();
        }
        Some(Self::permutation(source))
    }

    /// The map on x_0 (+) x_1 (+) ... that acts with its own member on each part, and then moves whole parts: part i of
    /// the result is what comes out of part `order_i`. This is how the secret of a product of axes is built from theirs.
    pub(crate) fn product(order: &[u32], members: &[&Self]) -> Self {
        let part = members.first().map_or(0, |member| member.size);
        let mut sum = Self::sum(members);
        let source = order
            .iter()
            .flat_map(|from| (0..part as u32).map(move |offset| from * part as u32 + offset))
            .collect();
        sum.steps.push(Step::Monomial {
            source,
            factor: vec![1.0; sum.size],
        });
        sum.fused()
    }

    /// The map on x_0 (+) x_1 (+) ... that acts with its own member on each part.
    pub(crate) fn sum(members: &[&Self]) -> Self {
        let depth = members.iter().map(|member| member.steps.len()).max();
        let mut steps = Vec::new();
        for level in 0..depth.unwrap_or(0) {
            let level: Vec<_> = members
                .iter()
                .map(|member| (member.steps.get(level), member.size))
                .collect();
            steps.extend(Step::sum(&level));
        }
        Self::new(members.iter().map(|member| member.size).sum(), steps).fused()
    }

    /// The same map with neighbouring monomial steps made one.
    fn fused(mut self) -> Self {
        let mut fused: Vec<Step> = Vec::with_capacity(self.steps.len());
        for step in self.steps.drain(..) {
            match (fused.last_mut(), &step) {
                (
                    Some(Step::Monomial { source, factor }),
                    Step::Monomial {
                        source: next,
                        factor: scale,
                    },
                ) => {
                    *factor = next
                        .iter()
                        .zip(scale)
                        .map(|(i, f)| f * factor[*i as usize])
                        .collect();
                    *source = next.iter().map(|i| source[*i as usize]).collect();
                }
                _ => fused.push(step),
            }
        }
        Self::new(self.size, fused)
    }
}

impl Block {
    fn transposed(&self) -> Self {
        let size = self.coordinates.len();
        let at = |index: usize| self.matrix[index % size * size + index / size];
        Self {
            coordinates: self.coordinates.clone(),
            matrix: (0..size * size).map(at).collect(),
        }
    }
}

impl Step {
    fn inverse(&self) -> Self {
        match self {
            Self::Monomial { source, factor } => {
                let mut inverse = (vec![0; source.len()], vec![1.0; source.len()]);
                for (to, (from, factor)) in source.iter().zip(factor).enumerate() {
                    inverse.0[*from as usize] = to as u32;
                    inverse.1[*from as usize] = 1.0 / factor;
                }
                let (source, factor) = inverse;
                Self::Monomial { source, factor }
            }
            Self::Blocks(blocks) => Self::Blocks(blocks.iter().map(Block::transposed).collect()),
        }
    }

    fn dual(&self) -> Self {
        match self {
            Self::Monomial { source, factor } => Self::Monomial {
                source: source.clone(),
                factor: factor.iter().map(|f| 1.0 / f).collect(),
            },
            Self::Blocks(_) => self.duplicate(),
        }
    }

    fn duplicate(&self) -> Self {
        match self {
            Self::Monomial { source, factor } => Self::Monomial {
                source: source.clone(),
                factor: factor.clone(),
            },
            Self::Blocks(blocks) => Self::Blocks(blocks.iter().map(|b| b.shifted(0)).collect()),
        }
    }

    /// The steps of the direct sum of one step for each part, given with the part's size; a part without one stays as it
    /// is. Monomial parts come first and blocks second, which is the order of no consequence, for they act on different
    /// coordinates.
    fn sum(parts: &[(Option<&Self>, usize)]) -> Vec<Self> {
        let (mut source, mut factor, mut blocks) = (Vec::new(), Vec::new(), Vec::new());
        let mut moved = false;
        for (step, size) in parts {
            let offset = source.len() as u32;
            match step {
                Some(Self::Monomial {
                    source: s,
                    factor: f,
                }) => {
                    moved = true;
                    source.extend(s.iter().map(|i| offset + i));
                    factor.extend_from_slice(f);
                }
                other => {
                    source.extend(offset..offset + *size as u32);
                    factor.resize(factor.len() + size, 1.0);
                    if let Some(Self::Blocks(own)) = other {
                        blocks.extend(own.iter().map(|block| block.shifted(offset)));
                    }
                }
            }
        }
        let monomial = moved.then_some(Self::Monomial { source, factor });
        let blocks = (!blocks.is_empty()).then_some(Self::Blocks(blocks));
        monomial.into_iter().chain(blocks).collect()
    }
}

impl Block {
    fn shifted(&self, offset: u32) -> Self {
        Self {
            coordinates: self.coordinates.iter().map(|c| c + offset).collect(),
            matrix: self.matrix.clone(),
        }
    }
}
