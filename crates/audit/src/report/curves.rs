//! What attacks recover with growing effort.

use super::number::percent;
use super::plot::{Plot, Series};
use crate::{Adversary, Audited, Verdict};

/// One attack's curves under all schemes.
pub(super) struct Curve<'a> {
    /// Its name.
    pub(super) attack: &'static str,
    /// Whose attack.
    pub(super) adversary: Adversary,
    /// What effort counts.
    pub(super) effort: &'static str,
    /// Scheme and verdict, whose curve is not empty.
    pub(super) members: Vec<(&'a str, &'a Verdict)>,
}

/// All attacks that have a curve under any scheme, as they come.
pub(super) fn curves(audited: &[Audited]) -> Vec<Curve<'_>> {
    let mut curves: Vec<Curve<'_>> = Vec::new();
    let all = audited
        .iter()
        .flat_map(|one| one.verdicts.iter().map(move |verdict| (one, verdict)));
    for (one, verdict) in all.filter(|(_, verdict)| !verdict.curve.is_empty()) {
        let effort = verdict.effort.unwrap_or("effort");
        let member = (one.scheme.as_str(), verdict);
        let known = curves.iter_mut().find(|curve| {
            (curve.attack, curve.adversary, curve.effort)
                == (verdict.attack, verdict.adversary, effort)
        });
        match known {
            Some(curve) => curve.members.push(member),
            None => curves.push(Curve {
                attack: verdict.attack,
                adversary: verdict.adversary,
                effort,
                members: vec![member],
            }),
        }
    }
    curves
}

impl Curve<'_> {
    /// Under one scheme, types and tokens; under several, tokens alone.
    pub(super) fn plot(&self) -> Plot {
        let series = if let [(_, verdict)] = self.members.as_slice() {
            let of = |pick: fn(&crate::Point) -> f64| -> Vec<[f64; 2]> {
                verdict
                    .curve
                    .iter()
                    .map(|point| [point.effort, pick(point)])
                    .collect()
            };
            vec![
                Series {
                    name: "of the tokens in held-out text".to_owned(),
                    points: of(|point| point.recovered_occurrences),
                    mark: None,
                },
                Series {
                    name: "of the token types".to_owned(),
                    points: of(|point| point.recovered_types),
                    mark: None,
                },
            ]
        } else {
            self.distinct()
        };
        Plot {
            title: match self.members.as_slice() {
                [(scheme, _)] => format!("{}: {scheme}", self.attack),
                _ => format!("{}: recovered with growing effort", self.attack),
            },
            summary: self.summary(),
            x_label: self.effort.to_owned(),
            y_label: if self.members.len() == 1 {
                "recovered".to_owned()
            } else {
                "recovered of the tokens in held-out text".to_owned()
            },
            joined: true,
            series,
        }
    }

    /// One line for all schemes with the same figures: lines on one another cannot be told apart.
    fn distinct(&self) -> Vec<Series> {
        let mut lines: Vec<(Vec<[f64; 2]>, Vec<&str>)> = Vec::new();
        for (scheme, verdict) in &self.members {
            let points: Vec<[f64; 2]> = verdict
                .curve
                .iter()
                .map(|point| [point.effort, point.recovered_occurrences])
                .collect();
            match lines.iter_mut().find(|line| line.0 == points) {
                Some((_, schemes)) => schemes.push(scheme),
                None => lines.push((points, vec![scheme])),
            }
        }
        let series = lines.into_iter().map(|(points, schemes)| Series {
            name: match schemes.as_slice() {
                [one] => (*one).to_owned(),
                [one, other] => format!("{one}; {other}"),
                [first, others @ ..] => {
                    format!("{first}, and {} more with the same figures", others.len())
                }
                [] => String::new(),
            },
            points,
            mark: None,
        });
        series.collect()
    }

    /// Every effort of any member, least first.
    pub(super) fn efforts(&self) -> Vec<f64> {
        let mut efforts: Vec<f64> = self
            .members
            .iter()
            .flat_map(|(_, verdict)| verdict.curve.iter().map(|point| point.effort))
            .collect();
        efforts.sort_by(f64::total_cmp);
        efforts.dedup();
        efforts
    }

    fn summary(&self) -> String {
        let ends: Vec<String> = self
            .members
            .iter()
            .filter_map(|(scheme, verdict)| {
                let (first, last) = (verdict.curve.first()?, verdict.curve.last()?);
                Some(format!(
                    "{scheme}: from {} at {} to {} at {} {}",
                    percent(first.recovered_occurrences),
                    super::number::effort(first.effort),
                    percent(last.recovered_occurrences),
                    super::number::effort(last.effort),
                    self.effort,
                ))
            })
            .collect();
        format!("Of the tokens in held-out text, {}.", ends.join("; "))
    }
}

/// The curves of `attack` under all schemes as an SVG file on light ground; none if there is nothing to draw.
#[must_use]
pub fn curve_svg(audited: &[Audited], attack: &str) -> Option<String> {
    let plot = curves(audited)
        .into_iter()
        .find(|curve| curve.attack == attack)?
        .plot();
    (!plot.is_empty()).then(|| plot.file())
}
