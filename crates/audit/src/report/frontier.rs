//! Fidelity against leakage: what a scheme costs, and what it leaves to attacks.

use super::leak::Leak;
use super::plot::{Plot, Series};
use crate::{Audited, MeasuredFidelity};

/// What the price of a scheme is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Price {
    /// Mean KL(p || p_enc), in nats.
    MeanKl,
    /// 1 - the smallest cosine.
    CosineLoss,
}

impl Price {
    /// For an axis.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::MeanKl => "mean KL, in nats",
            Self::CosineLoss => "1 - smallest cosine",
        }
    }

    /// Of one scheme.
    pub(super) fn of(self, audited: &Audited) -> Option<f64> {
        let price = match (self, audited.fidelity.as_ref()?) {
            (Self::MeanKl, MeasuredFidelity::Decoder(fidelity)) => fidelity.mean_kl,
            (Self::CosineLoss, MeasuredFidelity::Encoder(fidelity)) => 1.0 - fidelity.min_cosine,
            _ => return None,
        };
        // Rounding can leave less than nothing.
        price.is_finite().then(|| price.max(0.0))
    }
}

/// The largest share that any attack recovered, and that attack's name.
pub(super) fn largest_leak(audited: &Audited) -> Option<(f64, &'static str)> {
    audited
        .verdicts
        .iter()
        .filter_map(|verdict| Some((Leak::of(verdict)?.share, verdict.attack)))
        .reduce(|most, next| if next.0 > most.0 { next } else { most })
}

/// The schemes whose price is measured so, with their numbers in the list, counted from one; empty if fewer than two.
pub(super) fn points(audited: &[Audited], price: Price) -> Vec<(usize, &Audited, f64, f64)> {
    let points: Vec<_> = audited
        .iter()
        .enumerate()
        .filter_map(|(place, one)| Some((place + 1, one, price.of(one)?, largest_leak(one)?.0)))
        .collect();
    if points.len() < 2 { Vec::new() } else { points }
}

/// None if fewer than two schemes have this price and a leak.
pub(super) fn frontier(audited: &[Audited], price: Price) -> Option<Plot> {
    let points = points(audited, price);
    if points.is_empty() {
        return None;
    }
    let described: Vec<String> = points
        .iter()
        .map(|(number, one, cost, leak)| {
            format!(
                "{number} {}: {} and {}",
                one.scheme,
                super::number::measure(*cost),
                super::number::percent(*leak)
            )
        })
        .collect();
    Some(Plot {
        title: "What a scheme costs, and what it leaves to attacks".to_owned(),
        summary: format!(
            "{} and largest share recovered by any attack. {}.",
            price.label(),
            described.join("; ")
        ),
        x_label: price.label().to_owned(),
        y_label: "largest share recovered by any attack".to_owned(),
        joined: false,
        series: points
            .iter()
            .map(|(number, one, cost, leak)| Series {
                name: one.scheme.clone(),
                points: vec![[*cost, *leak]],
                mark: Some(number.to_string()),
            })
            .collect(),
    })
}

/// Fidelity against leakage of several schemes as an SVG file on light ground: mean KL for decoders, else 1 - cosine. None if
/// fewer than two schemes have both.
#[must_use]
pub fn frontier_svg(audited: &[Audited]) -> Option<String> {
    frontier(audited, Price::MeanKl)
        .or_else(|| frontier(audited, Price::CosineLoss))
        .map(|plot| plot.file())
}
