use super::fields::Fields;
use super::table::{ExpertNames, Shared, Shares};
use crate::Error;

/// A mixture of experts.
#[derive(Debug, Clone, PartialEq)]
pub struct Experts {
    /// How many there are in a layer.
    pub count: usize,
    /// How many a token visits.
    pub per_token: usize,
    /// Neurons of one.
    pub ffn_size: usize,
    /// Neurons of the one that every token visits; 0 without one.
    pub shared_ffn_size: usize,
    /// How the router's numbers become scores.
    pub scoring: Scoring,
    /// Whether the chosen experts' shares are divided by their sum.
    pub normalise: bool,
    /// What shares are multiplied by.
    pub scale: f64,
    /// Groups of experts; divides `count`.
    pub groups: usize,
    /// How many groups a token may choose from.
    pub groups_per_token: usize,
}

/// How a router's numbers become scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scoring {
    /// Softmax over the experts; a group is as good as its best expert.
    Softmax,
    /// The logistic function of each; a group is as good as its best two experts.
    Sigmoid,
}

impl Experts {
    pub(super) fn read(fields: &Fields<'_>, names: &ExpertNames) -> Result<Self, Error> {
        let count = fields.size(names.count)?;
        let ffn_size = fields.size(names.ffn)?;
        let per_token = fields.size(names.per_token)?;
        if per_token > count {
            return Err(fields.wrong(
                names.per_token,
                format!("at most {} = {count}", names.count),
            ));
        }
        let scaled = || Ok(fields.number("routed_scaling_factor")?.unwrap_or(1.0));
        let is_grouped = match names.shares {
            Shares::Normalised | Shares::Flag(_) => false,
            Shares::BestOfGroups => fields.text("topk_method")? == Some("group_limited_greedy"),
            Shares::BestTwoOfGroups(_) => true,
        };
        let group_field = |name: &str| match is_grouped {
            true => Ok(fields.optional_size(name)?.unwrap_or(1)),
            false => Ok(1),
        };
        let (groups, groups_per_token) = (group_field("n_group")?, group_field("topk_group")?);
        if !count.is_multiple_of(groups) || groups_per_token > groups {
            let expected = format!(
                "a divisor of {} = {count}, not below topk_group",
                names.count
            );
            return Err(fields.wrong("n_group", expected));
        }
        let (scoring, normalise, scale) = match names.shares {
            Shares::Normalised => (Scoring::Softmax, true, 1.0),
            Shares::Flag(name) => (Scoring::Softmax, fields.flag(name)?.unwrap_or(false), 1.0),
            Shares::BestOfGroups => (Scoring::Softmax, false, scaled()?),
            Shares::BestTwoOfGroups(name) => {
                let normalise = fields.flag(name)?.unwrap_or(true);
                (Scoring::Sigmoid, normalise, scaled()?)
            }
        };
        // A token must find enough experts in the groups it may choose from, and two in each to judge it by.
        let reachable = count / groups * groups_per_token;
        if per_token > reachable || (scoring == Scoring::Sigmoid && count / groups < 2) {
            return Err(fields.wrong(
                names.per_token,
                format!("at most {reachable} experts of {groups_per_token} groups of two or more"),
            ));
        }
        Ok(Self {
            count,
            per_token,
            ffn_size,
            shared_ffn_size: match names.shared {
                Shared::No => 0,
                Shared::Neurons(name) => fields.count(name)?.unwrap_or(0),
                Shared::Experts(name) => fields.count(name)?.unwrap_or(0) * ffn_size,
            },
            scoring,
            normalise,
            scale,
            groups,
            groups_per_token,
        })
    }
}
