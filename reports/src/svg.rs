//! Charts as hand-written SVG: coloured by the page's variables, so that they follow its theme; drawn at their
//! natural size, so that text stays readable and narrow screens scroll; margins come from the longest label.

use maud::{Markup, html};

use crate::format::short;

/// The size of text, as in the style sheet.
pub(crate) const TEXT: f64 = 13.0;
/// The smallest width in which points can be told apart.
const PLOT: f64 = 240.0;
/// The width that a chart takes if its labels leave that much room.
const WIDTH: f64 = 520.0;
const ROW: f64 = 30.0;
const GAP: f64 = 14.0;
/// Room for the marker that leads a label.
const MARKER: f64 = 18.0;

/// How many colours there are, and how many shapes. Only together do they tell 36 series apart.
pub(crate) const SERIES: usize = 6;

/// An upper estimate of the width of `text` at `size`, from the advance widths of DejaVu Sans, the widest of the
/// fonts that a browser is likely to choose.
pub(crate) fn width(text: &str, size: f64) -> f64 {
    let em: f64 = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | '\'' | '|' => 0.30,
            ' ' | '.' | ',' | ':' | ';' | '!' | 'I' | 'J' | '\u{202f}' | '/' | '-' => 0.36,
            '(' | ')' | '[' | ']' | 'f' | 't' | 'r' => 0.42,
            'm' | 'w' | 'M' | 'W' | '%' | '@' | '–' | '…' => 1.0,
            'A'..='Z' | '×' | '±' | '+' | '=' | '<' | '>' | '~' | '→' | '←' => 0.84,
            '0'..='9' | 'a'..='z' | '_' | '?' => 0.64,
            c if c.is_ascii() => 0.70,
            _ => 1.0,
        })
        .sum();
    em * size
}

/// One queue in a dot plot.
pub(crate) struct Dot {
    /// The queue's name.
    pub(crate) label: String,
    /// Rows of one group stand together under its name; an empty one has no heading.
    pub(crate) group: String,
    /// Which colour and shape, from 0.
    pub(crate) series: usize,
    /// Lower end, median, upper end. `None`: nothing is drawn.
    pub(crate) interval: Option<(f64, f64, f64)>,
    /// Every trial.
    pub(crate) trials: Vec<f64>,
    /// What stands at the right.
    pub(crate) words: String,
    /// Whether the number is withheld.
    pub(crate) struck: bool,
}

/// One comparison in a forest plot.
pub(crate) struct Ratio {
    /// What is compared.
    pub(crate) label: String,
    /// Which colour and shape, from 0.
    pub(crate) series: usize,
    /// Lower end, ratio, upper end; positive. `None`: nothing is drawn.
    pub(crate) interval: Option<(f64, f64, f64)>,
    /// The verdict.
    pub(crate) words: String,
}

/// Whether a value can have a place on an axis: beyond this nothing was measured, and arithmetic would overflow.
fn plausible(value: &f64) -> bool {
    value.abs() < 1e18
}

/// An interval that has a place on an axis.
fn drawable(interval: Option<(f64, f64, f64)>) -> Option<(f64, f64, f64)> {
    interval.filter(|(lo, middle, hi)| [lo, middle, hi].into_iter().all(plausible))
}

/// A scale from values to places.
struct Scale {
    log: bool,
    lo: f64,
    hi: f64,
    left: f64,
    right: f64,
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(f64::MIN_POSITIVE) / self.lo).ln() / (self.hi / self.lo).ln()
        } else {
            (value - self.lo) / (self.hi - self.lo)
        };
        self.left + share.clamp(0.0, 1.0) * (self.right - self.left)
    }

    /// Round values within the scale whose labels, by `label`, do not touch.
    fn ticks(&self, label: impl Fn(f64) -> String) -> Vec<(f64, String)> {
        let room = |values: &[f64]| {
            values.windows(2).all(|pair| {
                let need = (width(&label(pair[0]), TEXT) + width(&label(pair[1]), TEXT)) / 2.0 + 10.0;
                self.at(pair[1]) - self.at(pair[0]) >= need
            })
        };
        let values = self.candidates().into_iter().find(|values| room(values)).unwrap_or_default();
        values.into_iter().map(|value| (value, label(value))).collect()
    }

    /// Sets of round values within the scale, the densest first.
    fn candidates(&self) -> Vec<Vec<f64>> {
        let inside = |values: &mut dyn Iterator<Item = f64>| -> Vec<f64> {
            let slack = 1e-9 * self.hi.abs();
            values.filter(|v| (self.lo - slack..=self.hi + slack).contains(v)).collect()
        };
        if self.log && self.hi / self.lo > 3.0 {
            let decades = self.lo.log10().floor() as i32..=self.hi.log10().ceil() as i32;
            let of = |steps: &'static [f64]| {
                inside(&mut decades.clone().flat_map(|d| steps.iter().map(move |s| s * 10f64.powi(d))))
            };
            let mut sets = vec![of(&[1.0, 2.0, 3.0, 5.0]), of(&[1.0, 2.0, 5.0]), of(&[1.0, 3.0]), of(&[1.0])];
            for every in [2, 3, 5, 10, 30, 100] {
                let sparse = decades.clone().filter(|d| d % every == 0);
                sets.push(inside(&mut sparse.map(|d| 10f64.powi(d))));
            }
            return sets;
        }
        let step = 10f64.powf(((self.hi - self.lo) / 5.0).log10().floor());
        [1.0, 2.0, 2.5, 5.0, 10.0, 20.0, 50.0]
            .iter()
            .map(|factor| {
                let step = step * factor;
                let first = (self.lo / step).ceil() as i64;
                inside(&mut (first..first + 24).map(|i| i as f64 * step))
            })
            .collect()
    }
}

/// A dot plot: a median with its interval for each row, every trial as a faint dot. Rows keep their order; those of
/// one group must stand together. `id` must be unique within the page.
pub(crate) fn dots(id: &str, title: &str, description: &str, unit: &str, rows: &[Dot]) -> Markup {
    let values = rows.iter().filter_map(|row| Some((row, drawable(row.interval)?)));
    let values = values
        .flat_map(|(row, (lo, median, hi))| row.trials.iter().copied().chain([lo, median, hi]))
        .filter(plausible);
    let (least, most) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    let frame = Frame::of(rows.iter().map(|row| (row.label.as_str(), row.words.as_str())));
    let scale = match least <= most {
        false => None,
        true if least > 1e-18 && most / least > 6.0 => Some(frame.scale(true, least / 1.1, most * 1.1)),
        true => {
            let pad = ((most - least) * 0.06).max(most.abs() * 0.02).max(1e-9);
            // A distance from zero says something only if zero is near.
            let lo = if least >= 0.0 && least < (most - least) { 0.0 } else { least - pad };
            Some(frame.scale(false, lo, most + pad))
        }
    };
    let mut y = 8.0;
    let mut group = "";
    let mut places = Vec::new();
    let mut headings = Vec::new();
    for row in rows {
        if row.group != group {
            headings.push((y + 18.0, row.group.as_str()));
            y += 26.0;
            group = &row.group;
        }
        places.push(y + ROW / 2.0);
        y += ROW;
    }
    let body = html! {
        @for (y, heading) in &headings {
            text.heading x="0" y=(px(*y)) { (heading) }
        }
        @for (row, y) in rows.iter().zip(&places) {
            (frame.labels(*y, row.series, &row.label, &row.words, row.struck))
            @if let (Some(scale), Some((lo, median, hi))) = (&scale, drawable(row.interval)) {
                g class=(format!("s{} {}", row.series % SERIES, if row.struck { "withheld" } else { "" }).trim_end()) {
                    path.trials d=(trials(scale, *y, &row.trials)) {}
                    path.interval d=(interval(scale.at(lo), scale.at(hi), *y)) {}
                    (marker(row.series, scale.at(median), *y))
                }
            }
        }
    };
    frame.chart(id, title, description, y, scale.as_ref(), |value| tick(value, unit), unit, None, body)
}

/// A forest plot: ratios with their intervals on a logarithmic axis around 1, the equivalence zone shaded.
pub(crate) fn forest(
    id: &str,
    title: &str,
    description: &str,
    caption: &str,
    zone: f64,
    rows: &[Ratio],
) -> Markup {
    // The axis always shows the zone and a little beyond, and at most a factor of 1000.
    let (least, most) = rows
        .iter()
        .filter_map(|row| drawable(row.interval))
        .flat_map(|(lo, ratio, hi)| [lo, ratio, hi])
        .filter(|ratio| *ratio > 0.0)
        .fold((1.0 / (1.0 + 2.0 * zone), 1.0 + 2.0 * zone), |(least, most), ratio| {
            (least.min(ratio), most.max(ratio))
        });
    let (least, most) = (least.max(1e-3), most.min(1e3));
    let pad = (most / least).powf(0.05);
    let frame = Frame::of(rows.iter().map(|row| (row.label.as_str(), row.words.as_str())));
    let scale = frame.scale(true, least / pad, most * pad);
    let height = 8.0 + ROW * rows.len() as f64;
    let body = html! {
        @for (i, row) in rows.iter().enumerate() {
            @let y = 8.0 + ROW * (i as f64 + 0.5);
            (frame.labels(y, row.series, &row.label, &row.words, false))
            @if let Some((lo, ratio, hi)) = drawable(row.interval) {
                g class=(format!("s{}", row.series % SERIES)) {
                    path.interval d=(interval(scale.at(lo), scale.at(hi), y)) {}
                    (marker(row.series, scale.at(ratio), y))
                }
            }
        }
    };
    let label = |ratio: f64| {
        // Not more digits than the value has: 0.5×, 1×, 1.25×.
        let text = format!("{ratio:.3}");
        format!("{}×", text.trim_end_matches('0').trim_end_matches('.'))
    };
    frame.chart(id, title, description, height, Some(&scale), label, caption, Some(zone), body)
}

/// The sides of a chart.
struct Frame {
    left: f64,
    right: f64,
    width: f64,
}

impl Frame {
    /// Margins from the longest label at the left and the longest words at the right.
    fn of<'a>(texts: impl Iterator<Item = (&'a str, &'a str)>) -> Frame {
        let (left, right) = texts.fold((0f64, 0f64), |(left, right), (label, words)| {
            (left.max(width(label, TEXT)), right.max(width(words, TEXT)))
        });
        let (left, right) = (left + MARKER + GAP, right + GAP);
        let width = (left + PLOT + right).max(WIDTH);
        Frame { left, right: width - right, width }
    }

    fn scale(&self, log: bool, lo: f64, hi: f64) -> Scale {
        Scale { log, lo, hi, left: self.left + 6.0, right: self.right - 6.0 }
    }

    fn labels(&self, y: f64, series: usize, label: &str, words: &str, struck: bool) -> Markup {
        html! {
            g class=(format!("s{}", series % SERIES)) { (marker(series, 7.0, y)) }
            text x=(px(MARKER)) y=(px(y + 4.5)) { (label) }
            text.struck[struck] x=(px(self.right + GAP)) y=(px(y + 4.5)) { (words) }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one picture, used in two places")]
    fn chart(
        &self,
        id: &str,
        title: &str,
        description: &str,
        height: f64,
        scale: Option<&Scale>,
        label: impl Fn(f64) -> String,
        caption: &str,
        zone: Option<f64>,
        body: Markup,
    ) -> Markup {
        let ticks = scale.map(|scale| scale.ticks(label)).unwrap_or_default();
        let (floor, total) = (height + 6.0, height + 44.0);
        html! {
            svg role="img" aria-labelledby=(format!("{id}-t {id}-d"))
                width=(px(self.width)) height=(px(total)) viewBox=(format!("0 0 {} {}", px(self.width), px(total)))
            {
                title id=(format!("{id}-t")) { (title) }
                desc id=(format!("{id}-d")) { (description) }
                @if let Some(scale) = scale {
                    @if let Some(zone) = zone {
                        @let (from, to) = (scale.at(1.0 - zone), scale.at(1.0 + zone));
                        rect.zone x=(px(from)) y="4" width=(px(to - from)) height=(px(floor - 4.0)) {}
                        path.one d=(format!("M{} 4V{}", px(scale.at(1.0)), px(floor))) {}
                    }
                    @for (value, text) in &ticks {
                        @let x = px(scale.at(*value));
                        path.grid d=(format!("M{x} 4V{}", px(floor))) {}
                        text.tick x=(x) y=(px(floor + 15.0)) text-anchor="middle" { (text) }
                    }
                    path.axis d=(format!("M{} {}H{}", px(self.left), px(floor), px(self.right))) {}
                    @let middle = (self.left + self.right) / 2.0;
                    @let half = width(caption, TEXT) / 2.0;
                    text.tick x=(px(middle.clamp(half, (self.width - half).max(half)))) y=(px(floor + 33.0))
                        text-anchor="middle" { (caption) }
                }
                (body)
            }
        }
    }
}

/// One dot for each trial, spread a little so that equal ones can be counted; a single path, because there may be
/// thousands.
fn trials(scale: &Scale, y: f64, values: &[f64]) -> String {
    let mut d = String::new();
    for (i, value) in values.iter().enumerate().filter(|(_, value)| plausible(value)) {
        let spread = [0.0, -5.0, 5.0, -8.5, 8.5, -2.5, 2.5][i % 7];
        d.push_str(&format!("M{} {}h0", px(scale.at(*value)), px(y + spread)));
    }
    d
}

/// A line with ends that show beside the marker however short it is.
fn interval(lo: f64, hi: f64, y: f64) -> String {
    let (lo, hi) = (px(lo), px(hi));
    format!("M{lo} {top}v11M{lo} {y}H{hi}M{hi} {top}v11", top = px(y - 5.5), y = px(y))
}

/// The shape of a series, about 10 wide, around a point.
fn marker(series: usize, x: f64, y: f64) -> Markup {
    let (x, y) = (px(x), px(y));
    let shape = match (series + series / SERIES) % SERIES {
        0 => "m-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0",
        1 => "m-4.5 -4.5h9v9h-9z",
        2 => "m0 -6l6 6l-6 6l-6 -6z",
        3 => "m0 -5.5l5.8 10h-11.6z",
        4 => "m0 5.5l5.8 -10h-11.6z",
        _ => "m-2 -6h4v4h4v4h-4v4h-4v-4h-4v-4h4z",
    };
    html! { path.marker d=(format!("M{x} {y}{shape}")) {} }
}

/// A round value without the zeros that say nothing: "20 M".
fn tick(value: f64, unit: &str) -> String {
    let text = short(value, unit);
    let end = text.find(|c: char| !(c.is_ascii_digit() || "-.".contains(c))).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number}{rest}")
}

/// A coordinate, to a tenth of a pixel.
pub(crate) fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn dot(label: &str, values: &[f64], words: &str) -> Dot {
        Dot {
            label: label.into(),
            group: String::new(),
            series: 0,
            interval: Some((values[0], values[values.len() / 2], values[values.len() - 1])),
            trials: values.to_vec(),
            words: words.into(),
            struck: false,
        }
    }

    fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
        tag.split_once(&format!(" {name}=\""))?.1.split('"').next()
    }

    /// Left, right and baseline of every text, and the width of the picture.
    fn texts(svg: &str) -> (f64, Vec<(f64, f64, f64, String)>) {
        let number = |text: &str| text.parse::<f64>().expect("a number");
        let total = number(attribute(svg, "width").expect("a width"));
        let boxes = svg
            .split("<text")
            .skip(1)
            .map(|rest| {
                let (tag, rest) = rest.split_once('>').expect("a tag");
                let text = rest.split('<').next().expect("a text").to_owned();
                let (x, w) = (number(attribute(tag, "x").expect("x")), width(&text, TEXT));
                let x = if tag.contains("middle") { x - w / 2.0 } else { x };
                (x, x + w, number(attribute(tag, "y").expect("y")), text)
            })
            .collect();
        (total, boxes)
    }

    /// What is wrong with the texts of a picture: out of it, or over each other.
    pub(crate) fn collisions(svg: &str) -> Vec<String> {
        let (total, texts) = texts(svg);
        let mut wrong = Vec::new();
        for (i, a) in texts.iter().enumerate() {
            if a.0 < -0.5 || a.1 > total + 0.5 {
                wrong.push(format!("{:?} leaves the picture: {} to {} of {total}", a.3, a.0, a.1));
            }
            for b in &texts[..i] {
                if (a.2 - b.2).abs() < TEXT - 2.0 && a.0 < b.1 && b.0 < a.1 {
                    wrong.push(format!("{:?} and {:?} overlap", a.3, b.3));
                }
            }
        }
        wrong
    }

    #[test]
    fn no_text_leaves_the_picture_or_covers_another() {
        let long = "a_queue_with_a_remarkably_long_name_for_a_queue";
        let ranges = [[41.0, 42.0, 43.0], [1.0, 10.0, 1000.0], [1e-3, 2e-3, 5e6], [0.0, 0.0, 0.0]];
        for label in ["x", "mutex_deque", long] {
            for range in ranges {
                for scale in [1.0, 1e6, 1e12] {
                    let range = range.map(|value| value * scale);
                    let rows = [dot(label, &range, "41.2 M items/s"), dot("b", &range, "invalid")];
                    let svg = dots("d", "t", "d", "items/s", &rows).into_string();
                    assert_eq!(collisions(&svg), Vec::<String>::new(), "{range:?}");
                }
            }
            for interval in [(0.99, 1.0, 1.01), (0.2, 0.5, 0.9), (0.001, 1.0, 5000.0)] {
                let row = Ratio {
                    label: label.into(),
                    series: 1,
                    interval: Some(interval),
                    words: "faster".into(),
                };
                let svg = forest("f", "t", "d", "← worse than a · better →", 0.05, &[row]).into_string();
                assert_eq!(collisions(&svg), Vec::<String>::new(), "{interval:?}");
            }
        }
    }

    #[test]
    fn the_check_of_texts_sees_what_is_wrong() {
        let outside = r#"<svg width="100"><text x="80" y="5">mutex_deque</text></svg>"#;
        assert_eq!(collisions(outside).len(), 1);
        let over = r#"<svg width="400"><text x="8" y="5">mutex</text><text x="20" y="6">ring</text></svg>"#;
        assert_eq!(collisions(over).len(), 1);
    }

    #[test]
    fn an_axis_has_ticks() {
        for (log, lo, hi) in [(false, 0.0, 7.0), (false, 41.0, 43.0), (true, 0.5, 2.0), (true, 1.0, 1e9)] {
            let scale = Scale { log, lo, hi, left: 0.0, right: 300.0 };
            let ticks = scale.ticks(|value| tick(value, "items/s"));
            assert!((2..=12).contains(&ticks.len()), "{lo} to {hi}: {ticks:?}");
        }
    }

    #[test]
    fn no_two_series_look_alike() {
        let look = |series| (series % SERIES, marker(series, 0.0, 0.0).into_string());
        for b in 0..SERIES * SERIES {
            for a in 0..b {
                assert_ne!(look(a), look(b), "{a} and {b}");
            }
        }
    }

    #[test]
    fn names_are_escaped() {
        let svg = dots("d", "<t>", "d", "items/s", &[dot("<b>&", &[1.0], "\"")]).into_string();
        assert!(svg.contains("&lt;b&gt;&amp;") && !svg.contains("<b>"));
    }
}
