use std::collections::BTreeMap;
use std::sync::Arc;

use equicrypt_spec::{
    Architecture, Axis, AxisId, Factor, Group, ModelConfig, Profile, RopeLayout, Side, View,
};

use crate::element::Element;
use crate::schedule::Schedule;
use crate::{Error, Vocabulary};

/// The right to draw a secret for an axis from a group. It can only be had for a group inside the legal one, so a
/// [`Secrets`] cannot hold an illegal element.
pub struct Permit {
    axis: Axis,
    group: Group,
}

/// One element for each axis of a model (one for each index of the axis it varies with).
pub struct Secrets {
    members: BTreeMap<AxisId, Vec<Arc<Element>>>,
    /// Set by [`danger`] alone: gains and gates that cannot follow a map are left behind instead of being an error.
    lenient: bool,
}

impl Permit {
    /// The permit for what `profile` uses of the axis' legal group; `scales` is false where powers of two would leave the
    /// range of the dtype.
    #[must_use]
    pub fn legal(arch: &Architecture, axis: Axis, profile: Profile, scales: bool) -> Self {
        let group = profile.restrict(arch.legal_group(axis, profile.folds_gains()));
        Self {
            axis,
            group: if scales { group } else { group.isometric() },
        }
    }

    /// The permit for any group that lies inside the legal one.
    pub fn for_group(
        arch: &Architecture,
        axis: Axis,
        profile: Profile,
        requested: Group,
    ) -> Result<Self, Error> {
        let legal = arch.legal_group(axis, profile.folds_gains());
        if requested.is_within(legal) {
            Ok(Self {
                axis,
                group: requested,
            })
        } else {
            Err(Error::Illegal {
                axis: axis.at(None),
                requested,
                legal,
            })
        }
    }
}

impl Secrets {
    /// Derives every secret of a model. The vocabulary is not drawn here: it is the owner's own table.
    #[must_use]
    pub fn derive(
        schedule: &Schedule,
        config: &ModelConfig,
        permits: &[Permit],
        vocabulary: &Vocabulary,
    ) -> Self {
        let layout = config
            .architecture
            .rope_layout()
            .unwrap_or(RopeLayout::Halves);
        let mut members = BTreeMap::new();
        let vocab = Element::permutation(vocabulary.rows().to_vec());
        members.insert(Axis::Vocab.at(None), vec![Arc::new(vocab)]);
        for permit in permits.iter().filter(|permit| permit.axis != Axis::Vocab) {
            let size = permit.axis.size(config);
            let layers = if permit.axis.is_per_layer() {
                config.layers
            } else {
                1
            };
            for layer in 0..layers {
                let id = permit.axis.at(Some(layer));
                let family = match permit.axis.varies_with() {
                    None => vec![id.label()],
                    Some(outer) => (0..outer.size(config))
                        .map(|i| format!("{}/{i}", id.label()))
                        .collect(),
                };
                let draw = |label: String| {
                    let mut stream = schedule.stream(&label);
                    Arc::new(crate::sample::draw(&mut stream, permit.group, size, layout))
                };
                members.insert(id, family.into_iter().map(draw).collect());
            }
        }
        Self {
            members,
            lenient: false,
        }
    }

    /// The map on a side in `layer`, `None` where a factor is seen through a permutation that it does not have.
    ///
    /// For the factors (outer, ..., inner) this is the inner members in their places, moved by the outer permutations:
    /// for a query x_{k,g,d}, x'_{s(k), t_k(g), :} = R_k x_{k,g,:}.
    pub(crate) fn side(&self, side: Side, layer: Option<usize>) -> Option<Arc<Element>> {
        match side.0 {
            [] => Some(Arc::new(Element::identity(1))),
            [single] => self.member(*single, layer, 0),
            factors => self.nested(factors, layer, &mut Vec::new()).map(Arc::new),
        }
    }

    /// Whether gains and gates that cannot follow a map are to be left behind.
    pub(crate) fn is_lenient(&self) -> bool {
        self.lenient
    }

    /// The map of `factors` at the place `outer`: the axes and indices that enclose it.
    fn nested(
        &self,
        factors: &[Factor],
        layer: Option<usize>,
        outer: &mut Vec<(Axis, usize)>,
    ) -> Option<Element> {
        let (first, rest) = factors.split_first()?;
        let index = first
            .axis
            .varies_with()
            .and_then(|axis| outer.iter().find(|(enclosing, _)| *enclosing == axis))
            .map_or(0, |(_, index)| *index);
        let own = self.member(*first, layer, index)?;
        if rest.is_empty() {
            return Some(own.duplicate());
        }
        let order = permutation_of(&own)?;
        let inner = (0..own.size())
            .map(|index| {
                outer.push((first.axis, index));
                let inner = self.nested(rest, layer, outer);
                outer.pop();
                inner
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Element::product(&order, &inner.iter().collect::<Vec<_>>()))
    }

    fn member(&self, factor: Factor, layer: Option<usize>, index: usize) -> Option<Arc<Element>> {
        let family = self.members.get(&factor.axis.at(layer))?;
        let element = family.get(index).or(family.first())?;
        match factor.view {
            View::Direct => Some(element.clone()),
            View::Dual => Some(Arc::new(element.dual())),
            View::PermutationOnly => element.permutation_part().map(Arc::new),
        }
    }
}

fn permutation_of(element: &Element) -> Option<Vec<u32>> {
    let mut order: Vec<u32> = (0..element.size() as u32).collect();
    for step in element.steps() {
        let crate::element::Step::Monomial { source, .. } = step else {
            return None;
        };
        order = source.iter().map(|i| order[*i as usize]).collect();
    }
    Some(order)
}

/// What a test needs in order to see an illegal secret break a model.
pub(crate) mod danger {
    use super::{Permit, Secrets};
    use crate::Vocabulary;
    use crate::schedule::Schedule;
    use equicrypt_spec::{Axis, Group, ModelConfig};

    /// A permit without the legality check.
    #[must_use]
    pub fn permit_anything(axis: Axis, group: Group) -> Permit {
        Permit { axis, group }
    }

    /// [`Secrets::derive`] for such permits: where a gain or a gate cannot follow the map, it is left as it is.
    #[must_use]
    pub fn derive_illegal(
        schedule: &Schedule,
        config: &ModelConfig,
        permits: &[Permit],
        vocabulary: &Vocabulary,
    ) -> Secrets {
        Secrets {
            lenient: true,
            ..Secrets::derive(schedule, config, permits, vocabulary)
        }
    }
}
