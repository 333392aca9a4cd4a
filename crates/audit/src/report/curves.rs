//! What attacks recover with growing effort.

use super::markdown::escaped;
use super::number::{percent, score};
use super::plot::{Plot, Series};
use crate::{Adversary, Audited, Point, Verdict};

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
            let of = |pick: fn(&Point) -> f64| -> Vec<[f64; 2]> {
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

/// The curves of each attack under all schemes as SVG files on light ground, with the name of each: the attack's, and the
/// adversary's if several run it.
#[must_use]
pub fn curve_svgs(audited: &[Audited]) -> Vec<(String, String)> {
    let all = curves(audited);
    let several = |one: &Curve<'_>| {
        let same = |other: &&Curve<'_>| other.attack == one.attack;
        all.iter().filter(same).count() > 1
    };
    let files = all.iter().filter_map(|curve| {
        let plot = curve.plot();
        let name = match several(curve) {
            true => format!("{}-{}", curve.attack, curve.adversary.file()),
            false => curve.attack.to_owned(),
        };
        (!plot.is_empty()).then(|| (name, plot.file()))
    });
    files.collect()
}

/// The curves in figures, as Markdown: a table for each attack and adversary, a line a scheme, a column an effort; under those
/// of attacks on logs, one of challenge scores. None if there is no curve.
#[must_use]
pub fn curves_markdown(audited: &[Audited]) -> Option<String> {
    let mut out = String::new();
    for curve in curves(audited) {
        let share = |point: &Point| Some(percent(point.recovered_occurrences));
        out += &format!(
            "`{}`, {}, {}:\n\n",
            curve.attack,
            curve.adversary.short(),
            curve.effort
        );
        out += &curve.markdown(share)?;
        if let Some(scores) = curve.markdown(|point| point.contest.map(score)) {
            out += &format!("Challenge scores of `{}`:\n\n{scores}", curve.attack);
        }
    }
    (!out.is_empty()).then_some(out)
}

impl Curve<'_> {
    /// None if no member has such a figure.
    fn markdown(&self, figure: impl Fn(&Point) -> Option<String>) -> Option<String> {
        let efforts = self.efforts();
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let header = efforts.iter().map(|effort| super::number::effort(*effort));
        let mut out = line(["".to_owned()].into_iter().chain(header).collect());
        let rule = efforts.iter().map(|_| "--:".to_owned());
        out += &line(["---".to_owned()].into_iter().chain(rule).collect());
        let mut has_any = false;
        for (scheme, verdict) in &self.members {
            let at = |effort: &f64| {
                let same = |point: &&Point| point.effort.total_cmp(effort).is_eq();
                verdict.curve.iter().find(same).and_then(&figure)
            };
            let cells: Vec<Option<String>> = efforts.iter().map(at).collect();
            has_any |= cells.iter().any(Option::is_some);
            let cells = cells.into_iter().map(Option::unwrap_or_default);
            out += &line([escaped(scheme)].into_iter().chain(cells).collect());
        }
        has_any.then_some(out + "\n")
    }
}
