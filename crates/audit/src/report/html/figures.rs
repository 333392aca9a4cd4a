//! Curves and the frontier, each with its numbers in a table.

use super::section as titled;
use super::table::{Cell, Group, Level, Row, table};
use crate::report::curves::{Curve, curves};
use crate::report::frontier::{Price, frontier, largest_leak, points};
use crate::report::grid::NOT_RUN;
use crate::report::markup::{Markup, element, text, wrap};
use crate::report::number::{effort, measure, percent};
use crate::{Audited, Point, Verdict};

/// Both sections; nothing of what cannot be drawn.
pub(super) fn section(audited: &[Audited]) -> Markup {
    let curves: Markup = curves(audited)
        .iter()
        .enumerate()
        .map(|(place, curve)| of_curve(place, curve))
        .collect();
    let frontiers: Markup = [Price::MeanKl, Price::CosineLoss]
        .into_iter()
        .filter_map(|price| of_frontier(audited, price))
        .collect();
    let mut out = Markup::default();
    if !curves.is_empty() {
        let content = wrap("div", &[("class", "figures")], curves);
        out.push(titled("curves", "What more effort recovers", content));
    }
    if !frontiers.is_empty() {
        out.push(titled(
            "frontier",
            "What fidelity costs in leakage",
            frontiers,
        ));
    }
    out
}

fn of_curve(place: usize, curve: &Curve<'_>) -> Markup {
    let plot = curve.plot();
    let drawing = if plot.is_empty() {
        element("p", &[], [text("No point of this curve can be drawn.")])
    } else {
        plot.inline(&format!("curve-{place}"))
    };
    let (caption, columns, rows) = match curve.members.as_slice() {
        [(_, verdict)] => (
            format!("{} in numbers", curve.attack),
            ["token types", "tokens in text"]
                .map(str::to_owned)
                .to_vec(),
            efforts_down(curve, verdict),
        ),
        _ => (
            format!(
                "{} in numbers: of the tokens in held-out text, by {}",
                curve.attack, curve.effort
            ),
            curve.efforts().into_iter().map(effort).collect(),
            schemes_down(curve),
        ),
    };
    let corner = if curve.members.len() == 1 {
        curve.effort
    } else {
        "encryption"
    };
    let columns: Vec<String> = std::iter::once(corner.to_owned()).chain(columns).collect();
    figure(
        if curve.members.len() == 1 {
            "half"
        } else {
            "whole"
        },
        [curve.attack, curve.adversary.subject()],
        drawing,
        table(&caption, &columns, vec![Group { name: None, rows }]),
    )
}

fn efforts_down(curve: &Curve<'_>, verdict: &Verdict) -> Vec<Row> {
    let points = curve.efforts().into_iter().map(|value| {
        let cells = vec![
            share_at(verdict, value, |point| point.recovered_types),
            share_at(verdict, value, |point| point.recovered_occurrences),
        ];
        Row::new(effort(value), cells)
    });
    points.collect()
}

fn schemes_down(curve: &Curve<'_>) -> Vec<Row> {
    let efforts = curve.efforts();
    let schemes = curve.members.iter().map(|(scheme, verdict)| {
        let cells = efforts
            .iter()
            .map(|value| share_at(verdict, *value, |point| point.recovered_occurrences))
            .collect();
        Row::new(*scheme, cells)
    });
    schemes.collect()
}

fn share_at(verdict: &Verdict, value: f64, pick: fn(&Point) -> f64) -> Cell {
    let same = |point: &&Point| point.effort.total_cmp(&value).is_eq();
    match verdict.curve.iter().find(same).map(pick) {
        Some(share) => Cell::Figure(percent(share), Level::of(verdict, share)),
        None => Cell::Number(NOT_RUN.to_owned()),
    }
}

fn of_frontier(audited: &[Audited], price: Price) -> Option<Markup> {
    let plot = frontier(audited, price)?;
    let rows = points(audited, price)
        .into_iter()
        .map(|(number, one, cost, leak)| {
            let attack = largest_leak(one).map_or("", |(_, attack)| attack);
            let cells = vec![
                Cell::Number(measure(cost)),
                Cell::Number(percent(leak)),
                Cell::Words(attack.to_owned()),
            ];
            Row::new(format!("{number}. {}", one.scheme), cells)
        })
        .collect();
    let columns = ["encryption", price.label(), "largest share", "attack"];
    let id = match price {
        Price::MeanKl => "frontier-kl",
        Price::CosineLoss => "frontier-cosine",
    };
    Some(figure(
        "beside",
        [
            "Fidelity and leakage",
            "The nearer to the lower left, the better: little lost, little recovered",
        ],
        plot.inline(id),
        table(
            "Fidelity lost, and the most that any attack recovered",
            &columns.map(str::to_owned),
            vec![Group { name: None, rows }],
        ),
    ))
}

fn figure(
    class: &'static str,
    [name, caption]: [&str; 2],
    drawing: Markup,
    numbers: Markup,
) -> Markup {
    element(
        "figure",
        &[("class", class)],
        [
            element(
                "figcaption",
                &[],
                [
                    element("strong", &[], [text(name)]),
                    text(" "),
                    element("span", &[("class", "quiet")], [text(caption)]),
                ],
            ),
            element("div", &[("class", "drawing")], [drawing]),
            numbers,
        ],
    )
}
