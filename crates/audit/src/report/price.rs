//! What a scheme costs: its fidelity, in a few figures.

use super::number::{measure, percent};
use crate::{Audited, MeasuredFidelity};

/// Figures of fidelity that any of `audited` has, each with its name, and one cell a scheme.
pub(super) fn prices(audited: &[Audited]) -> Vec<(&'static str, Vec<String>)> {
    let all: Vec<_> = audited.iter().map(of_one).collect();
    let mut names: Vec<&'static str> = Vec::new();
    for (name, _) in all.iter().flatten() {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let cells = |name| {
        let cell = |one: &Vec<(&str, String)>| {
            let found = one.iter().find(|(of, _)| *of == name);
            found.map_or_else(|| super::grid::NOT_RUN.to_owned(), |(_, cell)| cell.clone())
        };
        all.iter().map(cell).collect()
    };
    names.into_iter().map(|name| (name, cells(name))).collect()
}

fn of_one(audited: &Audited) -> Vec<(&'static str, String)> {
    match &audited.fidelity {
        None => Vec::new(),
        Some(MeasuredFidelity::Decoder(fidelity)) => vec![
            ("mean KL, nats", measure(fidelity.mean_kl)),
            ("top-1", percent(fidelity.top1_agreement)),
            ("perplexity", measure(fidelity.perplexity_encrypted)),
        ],
        Some(MeasuredFidelity::Encoder(fidelity)) => {
            vec![("1 - cosine", measure((1.0 - fidelity.min_cosine).max(0.0)))]
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::report::samples::{audited, decoder, encoder};

    use super::*;

    #[test]
    fn schemes_without_a_figure_have_an_empty_cell() {
        let mut all = [
            audited("a", vec![]),
            audited("b", vec![]),
            audited("c", vec![]),
        ];
        all[0].fidelity = None;
        all[1].fidelity = Some(decoder(0.5, 18.0));
        all[2].fidelity = Some(encoder(0.75));
        let prices = prices(&all);
        let names: Vec<_> = prices.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            ["mean KL, nats", "top-1", "perplexity", "1 - cosine"]
        );
        assert_eq!(prices[0].1, ["-", "0.5000", "-"]);
        assert_eq!(prices[3].1, ["-", "-", "0.2500"]);
    }
}
