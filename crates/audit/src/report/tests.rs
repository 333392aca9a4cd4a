//! What holds of every page and every drawing, however strange the figures.

use super::samples::{audited, decoder, encoder, schemes, verdict};
use super::*;
use crate::{Audited, MeasuredFidelity, Point, Verdict};

fn about() -> About {
    About {
        command: "equicrypt audit model encrypted --key owner.key --report report.html".to_owned(),
        version: "0.1.0".to_owned(),
        date: "2026-11-23".to_owned(),
        threads: 2,
    }
}

/// Every page that is tested: one scheme, several, and what is strange.
fn pages() -> Vec<(&'static str, Vec<Audited>)> {
    let mut strange = verdict("strange", f64::NAN, 1e300);
    strange.curve = [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300]
        .into_iter()
        .map(|value| Point {
            effort: value,
            recovered_types: value,
            recovered_occurrences: value,
            contest: None,
        })
        .collect();
    strange.chance = f64::NAN;
    strange.control = f64::NAN;
    strange.seconds = f64::INFINITY;
    strange.keys = usize::MAX;
    let mut one_point = verdict("one-point", 0.2, 0.4);
    one_point.effort = Some("known pairs");
    one_point.curve = vec![Point {
        effort: 16.0,
        recovered_types: 0.2,
        recovered_occurrences: 0.4,
        contest: None,
    }];
    let mut hostile = audited(
        "</style><script>alert(1)</script>\"'&",
        vec![one_point.clone()],
    );
    hostile.architecture = "<img src=http://example.com>".to_owned();
    hostile.dtype = "\u{0}\u{1b}]".to_owned();
    let with = |fidelity: MeasuredFidelity, scheme: &str| {
        let mut one = audited(scheme, vec![one_point.clone()]);
        one.fidelity = Some(fidelity);
        one
    };
    vec![
        ("nothing", Vec::new()),
        ("no attacks", vec![audited("rotate", Vec::new())]),
        ("one", schemes().split_off(5)),
        ("several", schemes()),
        ("strange", vec![audited("strange", vec![strange.clone()])]),
        (
            "strange twice",
            vec![
                audited("a", vec![strange.clone()]),
                audited("b", vec![strange]),
            ],
        ),
        (
            "one point",
            vec![audited("rotate", vec![one_point.clone()])],
        ),
        ("hostile", vec![hostile.clone()]),
        ("hostile twice", vec![hostile.clone(), hostile]),
        (
            "encoders",
            vec![
                with(encoder(1.0), "permute"),
                with(encoder(0.97), "noise 1"),
            ],
        ),
        (
            "both kinds",
            vec![
                with(encoder(0.99), "a"),
                with(decoder(f64::NAN, f64::NAN), "b"),
                with(decoder(0.0, 1e300), "c"),
                with(decoder(-1e-9, 18.8), "d"),
            ],
        ),
    ]
}

/// Panics unless every element ends where it should, and returns the elements with their attributes.
fn balanced(markup: &str) -> Vec<String> {
    const VOID: [&str; 2] = ["meta", "!doctype"];
    let mut open: Vec<&str> = Vec::new();
    let mut all = Vec::new();
    let mut rest = markup;
    while let Some(start) = rest.find('<') {
        assert!(
            !rest[..start].contains('>'),
            "a stray > in {}",
            &rest[..start]
        );
        let end = start + rest[start..].find('>').expect("an element that ends");
        let tag = &rest[start + 1..end];
        assert!(!tag.contains('<'), "<{tag}>");
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "near </{name}>");
            continue;
        }
        let name = tag.split(' ').next().unwrap();
        all.push(tag.to_owned());
        if name == "style" {
            rest = &rest[rest.find("</style>").expect("the end of the style")..];
        }
        if !VOID.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    all
}

#[test]
fn what_is_not_balanced_is_seen() {
    for bad in [
        "<p><b></p></b>",
        "<p>",
        "</p>",
        "<p a=\"></p>",
        "<p",
        "a > b<p></p>",
    ] {
        assert!(std::panic::catch_unwind(|| balanced(bad)).is_err(), "{bad}");
    }
}

/// What a reader sees.
fn visible(page: &str) -> String {
    let mut out = String::new();
    let body = &page[page.find("<body>").unwrap()..];
    for piece in body.split('<').skip(1) {
        out.push(' ');
        out += &piece[piece.find('>').unwrap() + 1..];
    }
    out.replace("\u{a0}", " ")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&#39;", "'")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

#[test]
fn every_page_is_well_formed_asks_for_nothing_and_runs_nothing() {
    for (name, audited) in pages() {
        let page = html(&audited, &about());
        let elements = balanced(&page);
        let count = |wanted: &str| {
            let named = |element: &&String| element.split(' ').next() == Some(wanted);
            elements.iter().filter(named).count()
        };
        for never in [
            "script", "link", "img", "iframe", "image", "use", "base", "object",
        ] {
            assert_eq!(count(never), 0, "{name}: <{never}>");
        }
        for attribute in [
            " src=",
            " href=",
            " srcset=",
            " action=",
            " onload=",
            " onclick=",
        ] {
            assert!(
                !elements.iter().any(|element| element.contains(attribute)),
                "{name}: {attribute}"
            );
        }
        assert!(
            !page.contains("url(") && !page.contains("@import"),
            "{name}"
        );
        assert_eq!(count("h1"), 1, "{name}");
        assert_eq!(count("caption"), count("table"), "{name}");
        assert_eq!(count("svg"), count("desc"), "{name}");
        let mut ids: Vec<&str> = page
            .match_indices(" id=\"")
            .map(|(at, found)| {
                let rest = &page[at + found.len()..];
                &rest[..rest.find('"').unwrap()]
            })
            .collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "{name}: an id stands twice");
        for element in elements.iter().filter(|element| element.starts_with("th ")) {
            assert!(element.contains("scope="), "{name}: <{element}>");
        }
        for place in ["NaN", "inf\"", "inf "] {
            assert!(!page.contains(place), "{name}: {place}");
        }
    }
}

#[test]
fn the_verdict_comes_first_and_everything_is_there() {
    let about = about();
    for (name, audited) in pages() {
        let page = html(&audited, &about);
        let text = visible(&page);
        assert!(
            text.contains(&about.command) && text.contains("2 threads"),
            "{name}"
        );
        if audited.is_empty() {
            assert!(text.contains("nothing is known"));
            continue;
        }
        let first = page.find("id=\"verdict\"").unwrap();
        assert!(!page[..first].contains("<table") && !page[..first].contains("<h2"));
        for one in &audited {
            let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            for said in verdicts(one) {
                // The subject is an element of its own.
                let rest = said.text.strip_prefix(said.adversary.subject()).unwrap();
                assert!(flat(&text).contains(&flat(rest)), "{name}: {rest}");
            }
            for verdict in &one.verdicts {
                assert!(text.contains(verdict.attack), "{name}: {}", verdict.attack);
                for figure in figures(verdict) {
                    assert!(
                        text.contains(&figure),
                        "{name}: {} {figure}",
                        verdict.attack
                    );
                }
                if verdict.control.is_nan() || verdict.control < 0.95 {
                    let warning = format!("{} did not work even on its control", verdict.attack);
                    assert!(text.contains(&warning), "{name}: {warning}");
                }
            }
            assert!(
                one.fidelity.is_some() || text.contains("not measured"),
                "{name}"
            );
        }
    }
}

fn figures(verdict: &Verdict) -> Vec<String> {
    let points = verdict
        .curve
        .iter()
        .map(|point| point.recovered_occurrences);
    [
        verdict.recovered_types,
        verdict.recovered_occurrences,
        verdict.chance,
        verdict.control,
        verdict.spread,
    ]
    .into_iter()
    .chain(points)
    .map(number::percent)
    .chain([number::duration(verdict.seconds), verdict.keys.to_string()])
    .collect()
}

#[test]
fn several_schemes_have_a_paragraph_for_each_adversary_and_a_frontier() {
    let page = html(&schemes(), &about());
    let text = visible(&page);
    assert!(
        text.contains(" reads most under all 6 encryptions (100 %, functional): no protection.")
    );
    assert!(
        text.contains("It reads a part under \u{201c}rotate, 1,024 homophones\u{201d} (11.00 %,")
    );
    assert!(page.contains("id=\"frontier-kl\"") || page.contains("id=\"frontier-kl-title\""));
    let weak = ["a", "b"].map(|scheme| audited(scheme, vec![verdict("row-norm", 0.01, 0.02)]));
    let text = visible(&html(&weak, &about()));
    assert!(text.contains("recovers at most 2.00 % under both encryptions with what was tried (row-norm), which is no proof"));
    assert!(text.contains("was not measured against any of them."));
    let one = html(&schemes().split_off(5), &about());
    assert!(
        !one.contains("id=\"frontier\""),
        "one scheme has no frontier"
    );
}

fn curve_of(audited: &[Audited], attack: &str) -> String {
    let mut files = curve_svgs(audited).into_iter();
    files.find(|(name, _)| name == attack).unwrap().1
}

#[test]
fn curves_are_told_in_figures_too() {
    let mut attack = verdict("cooccurrence", 0.2, 0.4);
    attack.curve = vec![
        Point {
            effort: 100.0,
            recovered_types: 0.0,
            recovered_occurrences: 0.0213,
            contest: Some(-41.0),
        },
        Point {
            effort: 1_000.0,
            recovered_types: 0.2,
            recovered_occurrences: 0.4,
            contest: Some(2_706.0),
        },
    ];
    let text = curves_markdown(&[audited("one-to-one", vec![attack.clone()])]).unwrap();
    assert!(text.contains("| one-to-one | 2.13 % | 40.00 % |"), "{text}");
    assert!(text.contains("| one-to-one | -41 | 2,706 |"), "{text}");
    let mut other = attack.clone();
    other.adversary = crate::Adversary::SourceLogReader;
    let files = curve_svgs(&[audited("one-to-one", vec![attack, other])]);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 2);
    assert!(names.contains(&"cooccurrence-source"), "{names:?}");
    assert_eq!(curves_markdown(&[audited("rotate", Vec::new())]), None);
}

#[test]
fn files_are_xml_with_their_own_ground_and_colours() {
    let all = schemes();
    let files = [
        frontier_svg(&all).unwrap(),
        curve_of(&all, "cooccurrence"),
        curve_of(&all[..1], "known-pairs"),
    ];
    for file in files {
        balanced(&file);
        assert!(file.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
        assert!(file.contains("class=\"ground\"") && file.contains("fill: #fdfcfa"));
        assert!(!file.contains("var("));
        assert!(file.ends_with("</svg>\n"));
        assert!(file.contains("permute"));
    }
}

#[test]
fn what_cannot_be_drawn_is_not_drawn_badly() {
    for (name, audited) in pages() {
        let curves = curve_svgs(&audited).into_iter().map(|(_, svg)| svg);
        for file in curves.chain(frontier_svg(&audited)) {
            balanced(&file);
            assert!(
                !file.contains("NaN") && !file.contains("inf"),
                "{name}: {file}"
            );
        }
    }
    assert_eq!(frontier_svg(&[]), None);
    let no_fidelity = [
        audited("a", vec![verdict("x", 0.1, 0.1)]),
        audited("b", Vec::new()),
    ];
    assert_eq!(frontier_svg(&no_fidelity), None);
}

#[test]
fn points_stand_where_their_figures_are() {
    let mut attack = verdict("known-pairs", 1.0, 1.0);
    attack.effort = Some("known pairs");
    attack.curve = [(0.0, 0.0), (10.0, 1.0)]
        .map(|(effort, share)| Point {
            effort,
            recovered_types: share,
            recovered_occurrences: share,
            contest: None,
        })
        .to_vec();
    let file = curve_of(&[audited("rotate", vec![attack])], "known-pairs");
    // From the lower left to the upper right of the axes.
    assert!(file.contains("d=\"M64.0 254.0L434.0 34.0\""), "{file}");
}

#[test]
#[ignore = "writes all pages, tables and drawings into the folder EQUICRYPT_REPORTS, to be looked at"]
fn write_everything() {
    let folder = std::path::PathBuf::from(std::env::var_os("EQUICRYPT_REPORTS").unwrap());
    let write = |name: String, text: String| std::fs::write(folder.join(name), text).unwrap();
    for (name, audited) in pages() {
        let name = name.replace(' ', "_");
        write(format!("{name}.html"), html(&audited, &about()));
        let mut text: String = audited.iter().map(table).collect();
        text += &(matrix_table(&audited) + &matrix_markdown(&audited));
        write(format!("{name}.txt"), text);
        if let Some(file) = frontier_svg(&audited) {
            write(format!("{name}-frontier.svg"), file);
        }
        for (attack, file) in curve_svgs(&audited) {
            write(format!("{name}-{attack}.svg"), file);
        }
    }
}
