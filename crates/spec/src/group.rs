use serde::{Deserialize, Serialize};

/// A group of linear maps on one axis, as the product of four parts: permutations, signs, power-of-two scales, and a
/// part that mixes coordinates. Each part is ordered by inclusion, so that the [`meet`](Group::meet) of two groups is the
/// meet of their parts.
///
/// A mixing part contains the permutations and signs that lie in it: `Mix::Orthogonal` is the whole orthogonal group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Which coordinates may change places.
    pub permutation: PermutationPart,
    /// Which coordinates may change sign.
    pub sign: SignPart,
    /// Which coordinates may be multiplied by a power of two.
    pub scale: ScalePart,
    /// Which coordinates may be mixed.
    pub mix: Mix,
}

/// Permutations of an axis, smallest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PermutationPart {
    /// The identity alone.
    Trivial,
    /// All of them.
    Full,
}

/// Signs on an axis, smallest first. Pairs are the two coordinates that one RoPE plane turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignPart {
    /// None.
    Trivial,
    /// One sign for each pair.
    Pair,
    /// One sign for each coordinate.
    Coordinate,
}

/// Powers of two on an axis, smallest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScalePart {
    /// None.
    Trivial,
    /// One scale for each pair.
    Pair,
    /// One scale for each coordinate.
    Coordinate,
}

/// Maps that mix coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// None.
    Trivial,
    /// In each pair, turns by a multiple of 90 degrees: the turns that only move and negate values.
    QuarterTurns,
    /// In each pair, any turn.
    PairRotations,
    /// The orthogonal maps that keep the vector of ones, and so the mean of every vector.
    MeanKeeping,
    /// The orthogonal group.
    Orthogonal,
}

/// Which part of every legal group is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The monomial part: permutations, signs, powers of two. Every weight keeps its value up to sign and exponent.
    Permute,
    /// The whole group: gains are folded, which unties the head, where that makes the group larger; each weight is rounded
    /// once.
    Rotate,
    /// Token ids alone: an engine of the owner's own renames them and has the plain weights. No host is given such a model.
    Vocabulary,
}

impl Group {
    /// What no operation restricts: O(n) times the power-of-two diagonal maps.
    pub const UNRESTRICTED: Self = Self {
        permutation: PermutationPart::Full,
        sign: SignPart::Coordinate,
        scale: ScalePart::Coordinate,
        mix: Mix::Orthogonal,
    };
    /// O(n).
    pub const ORTHOGONAL: Self = Self {
        scale: ScalePart::Trivial,
        ..Self::UNRESTRICTED
    };
    /// Signed permutations with power-of-two scales.
    pub const MONOMIAL: Self = Self {
        mix: Mix::Trivial,
        ..Self::UNRESTRICTED
    };
    /// Signed permutations.
    pub const SIGNED_PERMUTATION: Self = Self {
        scale: ScalePart::Trivial,
        ..Self::MONOMIAL
    };
    /// S(n).
    pub const PERMUTATION: Self = Self {
        sign: SignPart::Trivial,
        ..Self::SIGNED_PERMUTATION
    };
    /// Permutations with power-of-two scales.
    pub const SCALED_PERMUTATION: Self = Self {
        scale: ScalePart::Coordinate,
        ..Self::PERMUTATION
    };
    /// The orthogonal maps that keep the vector of ones; permutations are among them, signs are not.
    pub const MEAN_KEEPING: Self = Self {
        mix: Mix::MeanKeeping,
        ..Self::PERMUTATION
    };
    /// A turn and a power of two for each pair of coordinates.
    pub const PAIR_ROTATION: Self = Self {
        permutation: PermutationPart::Trivial,
        sign: SignPart::Pair,
        scale: ScalePart::Pair,
        mix: Mix::PairRotations,
    };
    /// The identity alone.
    pub const TRIVIAL: Self = Self {
        permutation: PermutationPart::Trivial,
        sign: SignPart::Trivial,
        scale: ScalePart::Trivial,
        mix: Mix::Trivial,
    };

    /// The maps that lie in both groups.
    #[must_use]
    pub fn meet(self, other: Self) -> Self {
        Self {
            permutation: self.permutation.min(other.permutation),
            sign: self.sign.min(other.sign),
            scale: self.scale.min(other.scale),
            mix: self.mix.meet(other.mix),
        }
    }

    /// The maps with one non-zero entry in each row and column.
    #[must_use]
    pub fn monomial(self) -> Self {
        let mix = match self.mix {
            Mix::PairRotations | Mix::QuarterTurns => Mix::QuarterTurns,
            Mix::Orthogonal | Mix::MeanKeeping | Mix::Trivial => Mix::Trivial,
        };
        Self { mix, ..self }
    }

    /// The orthogonal maps of the group: everything but scales.
    #[must_use]
    pub fn isometric(self) -> Self {
        Self {
            scale: ScalePart::Trivial,
            ..self
        }
    }

    /// Whether every map of `self` lies in `other`.
    #[must_use]
    pub fn is_within(self, other: Self) -> bool {
        self.meet(other) == self
    }
}

impl Mix {
    /// What lies in both, without what only the permutations and signs of the group add.
    fn meet(self, other: Self) -> Self {
        use Mix::{MeanKeeping, Orthogonal, PairRotations, QuarterTurns, Trivial};
        match (self, other) {
            (Orthogonal, mix) | (mix, Orthogonal) => mix,
            (MeanKeeping, MeanKeeping) => MeanKeeping,
            (PairRotations, PairRotations) => PairRotations,
            (PairRotations | QuarterTurns, PairRotations | QuarterTurns) => QuarterTurns,
            (Trivial | MeanKeeping, _) | (_, Trivial | MeanKeeping) => Trivial,
        }
    }
}

impl Profile {
    /// The part of a legal group that this profile draws secrets from.
    #[must_use]
    pub fn restrict(self, legal: Group) -> Group {
        match self {
            Self::Permute => legal.monomial(),
            Self::Rotate => legal,
            Self::Vocabulary => Group::TRIVIAL,
        }
    }

    /// Whether the gains of norms are folded into the layers that read them, where that makes the legal group larger.
    #[must_use]
    pub fn folds_gains(self) -> bool {
        self == Self::Rotate
    }

    /// `permute`, `rotate` or `vocabulary`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Permute => "permute",
            Self::Rotate => "rotate",
            Self::Vocabulary => "vocabulary",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group() -> impl Strategy<Value = Group> {
        use {Mix as M, PermutationPart as P, ScalePart as C, SignPart as S};
        (
            prop::sample::select(vec![P::Trivial, P::Full]),
            prop::sample::select(vec![S::Trivial, S::Pair, S::Coordinate]),
            prop::sample::select(vec![C::Trivial, C::Pair, C::Coordinate]),
            prop::sample::select(vec![
                M::Trivial,
                M::QuarterTurns,
                M::PairRotations,
                M::MeanKeeping,
                M::Orthogonal,
            ]),
        )
            .prop_map(|(permutation, sign, scale, mix)| Group {
                permutation,
                sign,
                scale,
                mix,
            })
    }

    proptest! {
        #[test]
        fn meet_is_the_greatest_lower_bound(a in group(), b in group(), c in group()) {
            prop_assert_eq!(a.meet(b), b.meet(a));
            prop_assert_eq!(a.meet(b).meet(c), a.meet(b.meet(c)));
            prop_assert!(a.meet(b).is_within(a));
            if c.is_within(a) && c.is_within(b) {
                prop_assert!(c.is_within(a.meet(b)));
            }
        }

        #[test]
        fn profiles_stay_inside_the_legal_group(legal in group()) {
            prop_assert!(Profile::Permute.restrict(legal).is_within(legal));
            prop_assert_eq!(Profile::Rotate.restrict(legal), legal);
            prop_assert_eq!(Profile::Vocabulary.restrict(legal), Group::TRIVIAL);
        }
    }
}
