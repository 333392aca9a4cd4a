//! A small writer of plots as SVG: shares over an effort or a price. A plotting crate (plotters 0.3) fixes a
//! colour in every element, rounds places to whole pixels and knows neither dashes nor descriptions; here colours are classes,
//! so that one drawing follows the page's light, dark and printed colours.

use super::leak::is_share;
use super::markup::{Markup, element, style, text, wrap};
use super::palette::{SERIES, fixed};
use super::scale::{Scale, drawable};

/// Shares, bottom to top, over something else.
pub(super) struct Plot {
    /// What it shows.
    pub(super) title: String,
    /// The same for those who do not see it.
    pub(super) summary: String,
    /// What the horizontal axis is.
    pub(super) x_label: String,
    /// What the vertical axis is.
    pub(super) y_label: String,
    /// Whether points of a series are joined by a line.
    pub(super) joined: bool,
    /// In the order of the legend.
    pub(super) series: Vec<Series>,
}

/// Points of one colour, one shape and one entry of the legend.
pub(super) struct Series {
    /// For the legend.
    pub(super) name: String,
    /// Effort or price, and share.
    pub(super) points: Vec<[f64; 2]>,
    /// Written beside the last point.
    pub(super) mark: Option<String>,
}

impl Plot {
    /// Whether there is anything to draw.
    pub(super) fn is_empty(&self) -> bool {
        self.series.iter().all(|series| series.drawn().is_empty())
    }

    /// For the page, whose style sheet has [`SHEET`]. `id` is unique on the page.
    pub(super) fn inline(&self, id: &str) -> Markup {
        self.svg(id, 0.0, Markup::default(), Markup::default())
    }

    /// A file: XML with its own style and ground, light, with the title in it.
    pub(super) fn file(&self) -> String {
        let height = (self.height() + TITLE).to_string();
        let ground = element(
            "rect",
            &[
                ("class", "ground"),
                ("width", &WIDTH.to_string()),
                ("height", &height),
            ],
            [],
        );
        let title = label(
            [LEFT - 34.0, 26.0],
            "name",
            "start",
            &shortened(&self.title),
        );
        let svg = self.svg(
            "plot",
            TITLE,
            style(&fixed(SHEET)),
            [ground, title].into_iter().collect(),
        );
        svg.into_string() + "\n"
    }

    fn svg(&self, id: &str, lift: f64, sheet: Markup, behind: Markup) -> Markup {
        let height = self.height() + lift;
        let (name, description) = (format!("{id}-title"), format!("{id}-text"));
        let top = format!("translate(0 {lift})");
        wrap(
            "svg",
            &[
                ("xmlns", "http://www.w3.org/2000/svg"),
                ("class", "plot"),
                ("viewBox", &format!("0 0 {WIDTH} {height}")),
                ("width", &WIDTH.to_string()),
                ("height", &height.to_string()),
                ("role", "img"),
                ("aria-labelledby", &format!("{name} {description}")),
            ],
            [
                element("title", &[("id", &name)], [text(&self.title)]),
                element("desc", &[("id", &description)], [text(&self.summary)]),
                sheet,
                behind,
                element("g", &[("transform", &top)], [self.body()]),
            ]
            .into_iter()
            .collect(),
        )
    }

    fn body(&self) -> Markup {
        let values: Vec<f64> = self
            .series
            .iter()
            .flat_map(|series| series.drawn())
            .map(|[x, _]| x)
            .collect();
        let scale = Scale::of(&values);
        let at = |[x, y]: [f64; 2]| {
            [
                LEFT + INSET + scale.place(x) * (RIGHT - LEFT - 2.0 * INSET),
                BOTTOM - Scale::SHARE.place(y) * (BOTTOM - TOP),
            ]
        };
        let mut out = self.axes(&scale);
        let mut taken: Vec<[f64; 2]> = self.series.iter().flat_map(Series::drawn).map(at).collect();
        let mut marks = Markup::default();
        for (number, series) in self.series.iter().enumerate() {
            let places: Vec<[f64; 2]> = series.drawn().into_iter().map(at).collect();
            if self.joined && places.len() > 1 {
                out.push(line(number, &places));
            }
            out.extend(places.iter().map(|place| point(number, *place)));
            if let (Some(mark), Some(last)) = (&series.mark, places.last()) {
                let place = free_place(*last, &taken);
                taken.push([place[0], place[1] - 4.0]);
                marks.push(label(place, "mark", "middle", mark));
            }
        }
        out.push(marks);
        out.push(self.legend());
        out
    }

    fn axes(&self, scale: &Scale) -> Markup {
        let mut out = label([LEFT - 34.0, 16.0], "axis-name", "start", &self.y_label);
        for (place, name) in Scale::SHARE.ticks() {
            let y = BOTTOM - place * (BOTTOM - TOP);
            out.push(path("grid", &format!("M{LEFT} {y:.1}H{RIGHT}")));
            out.push(label([LEFT - 6.0, y + 4.5], "tick", "end", &name));
        }
        let across = |place: f64| LEFT + INSET + place * (RIGHT - LEFT - 2.0 * INSET);
        let axis = match scale.gap() {
            Some([from, to]) => format!(
                "M{LEFT} {BOTTOM}H{:.1}M{:.1} {BOTTOM}H{RIGHT}",
                across(from),
                across(to)
            ),
            None => format!("M{LEFT} {BOTTOM}H{RIGHT}"),
        };
        out.push(path("axis", &axis));
        for (place, name) in scale.ticks() {
            let x = across(place);
            out.push(path("axis", &format!("M{x:.1} {BOTTOM}v5")));
            out.push(label([x, BOTTOM + 19.0], "tick", "middle", &name));
        }
        out.push(label(
            [(LEFT + RIGHT) / 2.0, BOTTOM + 39.0],
            "axis-name",
            "middle",
            &self.x_label,
        ));
        out
    }

    fn legend(&self) -> Markup {
        let mut out = Markup::default();
        for (number, series) in self.series.iter().enumerate() {
            let y = BOTTOM + 62.0 + ENTRY * number as f64;
            if self.joined {
                out.push(line(number, &[[LEFT - 4.0, y], [LEFT + 28.0, y]]));
            }
            out.push(point(number, [LEFT + 12.0, y]));
            let name = match &series.mark {
                Some(mark) if !self.joined => format!("{mark}  {}", series.name),
                _ => series.name.clone(),
            };
            out.push(label(
                [LEFT + 38.0, y + 4.5],
                "entry",
                "start",
                &shortened(&name),
            ));
        }
        out
    }

    fn height(&self) -> f64 {
        BOTTOM + 62.0 + ENTRY * self.series.len() as f64
    }
}

impl Series {
    /// The points that have a place, by effort.
    fn drawn(&self) -> Vec<[f64; 2]> {
        let mut points: Vec<[f64; 2]> = self
            .points
            .iter()
            .copied()
            .filter(|[x, y]| drawable(*x) && is_share(*y))
            .collect();
        points.sort_by(|one, other| one[0].total_cmp(&other[0]));
        points
    }
}

/// What [`Plot::inline`] looks like; colours are the palette's.
pub(super) const SHEET: &str = include_str!("plot.css");

fn label(place: [f64; 2], class: &'static str, anchor: &'static str, words: &str) -> Markup {
    let [x, y] = place.map(|value| format!("{value:.1}"));
    element(
        "text",
        &[
            ("class", class),
            ("x", &x),
            ("y", &y),
            ("text-anchor", anchor),
        ],
        [text(words)],
    )
}

fn path(class: &str, steps: &str) -> Markup {
    element("path", &[("class", class), ("d", steps)], [])
}

fn line(number: usize, places: &[[f64; 2]]) -> Markup {
    let steps: Vec<String> = places
        .iter()
        .map(|[x, y]| format!("{x:.1} {y:.1}"))
        .collect();
    let class = format!("line s{}", number % SERIES);
    let dash = DASHES[number % DASHES.len()];
    element(
        "path",
        &[
            ("class", &class),
            ("stroke-dasharray", dash),
            ("d", &format!("M{}", steps.join("L"))),
        ],
        [],
    )
}

fn point(number: usize, [x, y]: [f64; 2]) -> Markup {
    let shape = SHAPES[number % SHAPES.len()];
    let class = format!("point s{}", number % SERIES);
    path(&class, &format!("M{x:.1} {y:.1}{shape}"))
}

/// Where a mark beside `point` is farthest from everything else.
fn free_place(point: [f64; 2], taken: &[[f64; 2]]) -> [f64; 2] {
    let room = |place: &[f64; 2]| {
        let inside = place[0] > LEFT + 8.0
            && place[0] < RIGHT - 4.0
            && place[1] > TOP - 6.0
            && place[1] < BOTTOM - 4.0;
        let nearest = taken
            .iter()
            .map(|[x, y]| (place[0] - x).hypot(place[1] - 4.0 - y))
            .fold(f64::INFINITY, f64::min);
        if inside { nearest } else { nearest - 1_000.0 }
    };
    let sides = [
        [0.0, 20.0],
        [0.0, -10.0],
        [14.0, 4.0],
        [-14.0, 4.0],
        [12.0, 16.0],
        [-12.0, 16.0],
        [12.0, -8.0],
        [-12.0, -8.0],
        [0.0, 36.0],
    ];
    sides
        .map(|[x, y]| [point[0] + x, point[1] + y])
        .into_iter()
        // The first of equals, and nothing farther than is needed.
        .reduce(|best, next| {
            if room(&next).min(ROOM) > room(&best).min(ROOM) {
                next
            } else {
                best
            }
        })
        .unwrap_or(point)
}

/// At most as many letters as fit beside a legend's entry.
fn shortened(words: &str) -> String {
    if words.chars().count() <= LETTERS {
        return words.to_owned();
    }
    words
        .chars()
        .take(LETTERS - 1)
        .chain(['\u{2026}'])
        .collect()
}

/// Moves from a point's middle around it: circle, square, triangle, diamond, cross.
const SHAPES: [&str; 5] = [
    "m-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z",
    "m-4 -4h8v8h-8z",
    "m0 -5.2l5 8.6h-10z",
    "m0 -5.6l5.6 5.6l-5.6 5.6l-5.6 -5.6z",
    "m-4 -4l8 8m0 -8l-8 8",
];

/// One a shape, so that neither colour nor shape alone tells lines apart.
const DASHES: [&str; 5] = ["none", "7 3", "2 3", "9 3 2 3", "14 3"];

const WIDTH: f64 = 460.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 448.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 254.0;
/// Between the axes and the outermost points.
const INSET: f64 = 14.0;
/// Of the title of a file.
const TITLE: f64 = 30.0;
/// Height of a legend's entry.
const ENTRY: f64 = 21.0;
/// How far a mark keeps from everything else.
const ROOM: f64 = 13.0;
/// How many letters an entry has.
const LETTERS: usize = 54;
