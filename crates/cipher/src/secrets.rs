use std::collections::BTreeMap;
use std::sync::Arc;

use equicrypt_spec::{
    Architecture, Axis, AxisId, Factor, Family, Group, Kind, ModelConfig, Profile, Role,
    RopeLayout, Side, View,
};

use crate::element::Element;
use crate::noise::Noise;
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
    architecture: &'static Architecture,
    members: BTreeMap<AxisId, Vec<Arc<Element>>>,
    /// Set by [`danger`] alone: gains and gates that cannot follow a map are left behind instead of being an error.
    lenient: bool,
    noise: Option<Noise>,
}

impl Permit {
    /// The permit for what `profile` uses of the axis' legal group; `scales` is false where powers of two would leave the
    /// range of the dtype.
    #[must_use]
    pub fn legal(config: &ModelConfig, axis: Axis, profile: Profile, scales: bool) -> Self {
        let group = config.architecture.group(axis, config, profile);
        Self {
            axis,
            group: if scales { group } else { group.isometric() },
        }
    }

    /// The permit for any group that lies inside the legal one.
    pub fn for_group(
        config: &ModelConfig,
        axis: Axis,
        profile: Profile,
        requested: Group,
    ) -> Result<Self, Error> {
        let arch = config.architecture;
        let legal = arch.legal_group(axis, config, arch.folds(axis, config, profile));
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
    /// Derives every secret of a model; an axis without a permit keeps its coordinates. The vocabulary is not drawn here:
    /// it is the owner's own table.
    #[must_use]
    pub fn derive(
        schedule: &Schedule,
        config: &ModelConfig,
        permits: &[Permit],
        vocabulary: &Vocabulary,
    ) -> Self {
        let mut secrets = Self::derive_some(schedule, config, permits, &Axis::ALL);
        let vocab = Element::permutation(vocabulary.rows().to_vec());
        (secrets.members).insert(Axis::Vocab.at(None), vec![Arc::new(vocab)]);
        secrets
    }

    /// The same with noise for embedding and head.
    #[must_use]
    pub fn with_noise(self, schedule: &Schedule) -> Self {
        Self {
            noise: Some(Noise::derive(schedule)),
            ..self
        }
    }

    pub(crate) fn noise(&self) -> Option<&Noise> {
        self.noise.as_ref()
    }

    /// The same for some axes, without the vocabulary.
    pub(crate) fn derive_some(
        schedule: &Schedule,
        config: &ModelConfig,
        permits: &[Permit],
        axes: &[Axis],
    ) -> Self {
        let architecture = config.architecture;
        let mut members = BTreeMap::new();
        for axis in axes.iter().copied() {
            let permit = permits.iter().find(|permit| permit.axis == axis);
            for layer in 0..config.layers {
                let id = architecture.axis_at(axis, Some(layer));
                if members.contains_key(&id) {
                    break;
                }
                let family = match permit {
                    Some(permit) if axis.size(config) > 0 => draw(schedule, config, permit, id),
                    _ => vec![Arc::new(Element::identity(axis.size(config)))],
                };
                members.insert(id, family);
            }
        }
        Self {
            architecture,
            members,
            lenient: false,
            noise: None,
        }
    }

    /// The map on a side in `layer`, of `expert` of the source, `None` where a factor is seen through a permutation that it
    /// does not have.
    ///
    /// For a product of axes (outer, ..., inner) this is the inner members in their places, moved by the outer
    /// permutations: for a query x_{k,g,d}, x'_{s(k), t_k(g), :} = R_k x_{k,g,:}. For a sum it is their direct sum.
    pub(crate) fn side(
        &self,
        side: Side,
        layer: Option<usize>,
        expert: Option<usize>,
    ) -> Option<Arc<Element>> {
        let place = Place {
            layer,
            expert,
            outer: &[],
        };
        match side {
            Side::Of(factor) => self.member(factor, place),
            _ => self.nested(side, place).map(Arc::new),
        }
    }

    /// The expert of the source that becomes `expert` of the encrypted model.
    pub(crate) fn source_expert(
        &self,
        config: &ModelConfig,
        layer: Option<usize>,
        expert: usize,
    ) -> Option<usize> {
        let router = config.architecture.row(Role::Router, config, layer)?;
        let Kind::Linear { out, .. } = router.kind else {
            return None;
        };
        let order = permutation_of(&*self.side(out, layer, None)?)?;
        order.get(expert).map(|source| *source as usize)
    }

    /// Whether gains and gates that cannot follow a map are to be left behind.
    pub(crate) fn is_lenient(&self) -> bool {
        self.lenient
    }

    fn nested(&self, side: Side, place: Place<'_>) -> Option<Element> {
        match side {
            Side::Of(factor) => Some(self.member(factor, place)?.duplicate()),
            Side::Sum(sides) => {
                let parts = sides.iter().map(|side| self.nested(*side, place));
                let parts = parts.collect::<Option<Vec<_>>>()?;
                Some(Element::sum(&parts.iter().collect::<Vec<_>>()))
            }
            Side::Product([]) => Some(Element::identity(1)),
            Side::Product([last]) => self.nested(*last, place),
            Side::Product([first, rest @ ..]) => {
                let Side::Of(factor) = first else {
                    return None;
                };
                let own = self.member(*factor, place)?;
                let order = permutation_of(&own)?;
                let inner = (0..own.size())
                    .map(|index| {
                        let outer = [place.outer, &[(factor.axis, index)]].concat();
                        let place = Place {
                            outer: &outer,
                            ..place
                        };
                        self.nested(Side::Product(rest), place)
                    })
                    .collect::<Option<Vec<_>>>()?;
                Some(Element::product(&order, &inner.iter().collect::<Vec<_>>()))
            }
        }
    }

    fn member(&self, factor: Factor, place: Place<'_>) -> Option<Arc<Element>> {
        let index = match factor.axis.family() {
            Family::One => None,
            Family::Each(axis) => (place.outer.iter())
                .find(|(enclosing, _)| *enclosing == axis)
                .map(|(_, index)| *index),
            Family::EachExpert => place.expert,
        };
        let family = (self.members).get(&self.architecture.axis_at(factor.axis, place.layer))?;
        let element = family.get(index.unwrap_or(0)).or(family.first())?;
        match factor.view {
            View::Direct => Some(element.clone()),
            View::Dual => Some(Arc::new(element.dual())),
            View::PermutationOnly => element.permutation_part().map(Arc::new),
        }
    }
}

/// Where a factor stands: in which layer, of which expert, and at which indices of the axes that enclose it.
#[derive(Clone, Copy)]
struct Place<'a> {
    layer: Option<usize>,
    expert: Option<usize>,
    outer: &'a [(Axis, usize)],
}

/// The members of an axis' family: one for each index of what it depends on.
fn draw(
    schedule: &Schedule,
    config: &ModelConfig,
    permit: &Permit,
    id: AxisId,
) -> Vec<Arc<Element>> {
    let layout = config.architecture.rope_layout(permit.axis, config);
    let layout = layout.unwrap_or(RopeLayout::Halves);
    let family = permit.axis.family();
    let label = |index: usize| match family {
        Family::One => id.label(),
        Family::Each(_) | Family::EachExpert => format!("{}/{index}", id.label()),
    };
    let member = |index: usize| {
        let mut stream = schedule.stream(&label(index));
        let size = permit.axis.size(config);
        Arc::new(crate::sample::draw(&mut stream, permit.group, size, layout))
    };
    (0..family.size(config)).map(member).collect()
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
