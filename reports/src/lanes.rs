//! A run as a picture: a lane for each of those who take part, time downwards. Distances mean nothing: what begins
//! after something else has ended stands below it, and what overlaps in time stands side by side, however short or long
//! it was.

use maud::{Markup, html};

use crate::results::{Act, ActKind, Lanes};
use crate::svg::{TEXT, px, width};

/// The height of a line of text.
const LINE: f64 = 18.0;
/// Between the edge of a box and its text.
const PAD: f64 = 7.0;
/// Between one row and the next.
const GAP: f64 = 7.0;
/// The narrowest lane.
const NARROWEST: f64 = 90.0;
const HEAD: f64 = 30.0;

/// Where an act begins and ends, in rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    first: usize,
    last: usize,
}

/// The rows of the acts: a new one begins with the first call after a return. What concerns all has rows to itself.
fn spans(acts: &[Act]) -> Vec<Span> {
    let mut ends: Vec<(u64, usize)> =
        acts.iter().enumerate().filter_map(|(at, act)| Some((act.ret?, at))).collect();
    ends.sort_unstable();
    let mut ends = ends.into_iter().peekable();
    let mut spans: Vec<Span> = Vec::with_capacity(acts.len());
    let (mut row, mut is_new) = (0, true);
    for act in acts {
        while let Some((_, ended)) = ends.next_if(|(ret, ended)| *ret < act.call && *ended < spans.len()) {
            spans[ended].last = row;
            is_new = false;
        }
        let alone = act.kind != ActKind::Call;
        if !is_new || alone {
            row += usize::from(!spans.is_empty());
            is_new = true;
        }
        spans.push(Span { first: row, last: usize::MAX });
        // Nothing else begins beside it.
        is_new &= !alone;
    }
    let faults: Vec<usize> = acts
        .iter()
        .zip(&spans)
        .filter_map(|(act, span)| (act.kind == ActKind::Fault).then_some(span.first))
        .collect();
    for (act, span) in acts.iter().zip(&mut spans) {
        span.last = match act.kind {
            // What never returned was open until something cut it off.
            ActKind::Call if act.ret.is_none() => {
                faults.iter().find(|fault| **fault > span.first).map_or(row, |fault| fault - 1)
            }
            ActKind::Call => span.last.min(row),
            _ => span.first,
        };
    }
    spans
}

/// Draws a run. `id` must be unique within the page.
pub(crate) fn draw(id: &str, title: &str, lanes: &Lanes) -> Markup {
    let Lanes { names, acts, .. } = lanes;
    let spans = spans(acts);
    let rows = spans.iter().map(|span| span.last + 1).max().unwrap_or(0);
    let mut heights = vec![LINE + PAD; rows];
    for (act, span) in acts.iter().zip(&spans) {
        // All of its text in its first row: what concerns all may lie across the others.
        heights[span.first] = heights[span.first].max(act.lines.len() as f64 * LINE + PAD);
    }
    let tops: Vec<f64> = heights
        .iter()
        .scan(HEAD, |top, height| {
            let this = *top;
            *top += height + GAP;
            Some(this)
        })
        .collect();
    let widest =
        |texts: &mut dyn Iterator<Item = &str>| texts.map(|text| width(text, TEXT)).fold(0.0, f64::max);
    let margin = widest(&mut acts.iter().map(|act| act.time.as_str()).chain(["time"])) + 14.0;
    let all_numbers: Vec<String> = acts.iter().map(numbers).collect();
    let number = widest(&mut all_numbers.iter().map(String::as_str)) + PAD;
    let lane_widths = names.iter().enumerate().map(|(lane, name)| {
        let own = acts.iter().filter(|act| act.lane == Some(lane));
        let texts = widest(&mut own.flat_map(|act| act.lines.iter().map(String::as_str)));
        (texts + 2.0 * PAD + number).max(width(name, TEXT) + PAD).max(NARROWEST)
    });
    let mut lefts = vec![margin];
    lefts.extend(lane_widths.scan(margin, |left, lane| {
        *left += lane + 10.0;
        Some(*left)
    }));
    let bands =
        acts.iter().filter(|act| act.lane.is_none()).flat_map(|act| act.lines.iter().map(String::as_str));
    let right = lefts[lefts.len() - 1].max(margin + widest(&mut { bands }) + 2.0 * PAD + number);
    let places: Vec<Place<'_>> = acts
        .iter()
        .zip(&spans)
        .map(|(act, span)| {
            let lane = act.lane.and_then(|lane| Some((*lefts.get(lane)?, *lefts.get(lane + 1)?)));
            let (left, wide) =
                lane.map_or((margin, right - margin), |(left, next)| (left, next - left - 10.0));
            let top = tops[span.first];
            Place { act, left, top, wide, high: tops[span.last] + heights[span.last] - top }
        })
        .collect();
    let bottom = tops.last().map_or(HEAD, |top| top + heights[rows - 1]) + GAP;
    html! {
        svg.lanes role="img" aria-labelledby=(format!("{id}-t {id}-d"))
            width=(px(right + 1.0)) height=(px(bottom)) viewBox=(format!("0 0 {} {}", px(right + 1.0), px(bottom)))
        {
            title id=(format!("{id}-t")) { (title) }
            desc id=(format!("{id}-d")) { "A lane for each of " (names.join(", ")) ". The list below tells the same in words." }
            text.tick x="0" y="16" { "time" }
            @for (name, left) in names.iter().zip(&lefts) {
                text.lane x=(px(left + PAD)) y="16" { (name) }
                path.grid d=(format!("M{} {}V{}", px(left + 1.0), px(HEAD - 6.0), px(bottom))) {}
            }
            @for (row, top) in tops.iter().enumerate() {
                @let mut begin = acts.iter().zip(&spans).filter(|(_, span)| span.first == row);
                @if let Some((act, _)) = begin.find(|(act, _)| !act.time.is_empty()) {
                    text.tick x="0" y=(px(top + LINE - 2.0)) { (act.time) }
                }
            }
            @for place in places.iter().filter(|place| place.act.lane.is_none()) { (place.frame()) }
            @for place in places.iter().filter(|place| place.act.lane.is_some()) { (place.frame()) }
            @for place in &places { (place.words(number)) }
        }
    }
}

/// An act with its box.
struct Place<'a> {
    act: &'a Act,
    left: f64,
    top: f64,
    wide: f64,
    high: f64,
}

impl Place<'_> {
    fn frame(&self) -> Markup {
        let Act { kind, in_doubt, culprits, .. } = self.act;
        let class = match kind {
            ActKind::Call => "",
            ActKind::Fault => " fault",
            ActKind::Time | ActKind::Phase => " phase",
            ActKind::Hidden => " left-out",
        };
        let doubt = if *in_doubt { " doubt" } else { "" };
        let culprit = if culprits.is_empty() { "" } else { " culprit" };
        html! {
            rect class=(format!("act{class}{doubt}{culprit}")) x=(px(self.left)) y=(px(self.top)) rx="4"
                width=(px(self.wide)) height=(px(self.high)) {}
        }
    }

    fn words(&self, number: f64) -> Markup {
        let baseline = |nth: usize| px(self.top + LINE * (nth + 1) as f64 - 2.0);
        html! {
            @for (nth, line) in self.act.lines.iter().enumerate() {
                text x=(px(self.left + PAD)) y=(baseline(nth)) { (line) }
            }
            @if !self.act.culprits.is_empty() {
                text.number x=(px(self.left + self.wide - number)) y=(baseline(0)) { (numbers(self.act)) }
            }
        }
    }
}

/// Its places among the culprits.
fn numbers(act: &Act) -> String {
    act.culprits.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::svg::tests::collisions;

    fn call(lane: usize, call: u64, ret: Option<u64>, lines: &[&str]) -> Act {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        Act {
            lane: Some(lane),
            call,
            ret,
            lines,
            time: "10s".into(),
            in_doubt: ret.is_none(),
            ..Act::default()
        }
    }

    fn band(kind: ActKind, at: u64) -> Act {
        let lines = vec!["the power fails, and the broker starts again".to_owned()];
        Act { call: at, ret: Some(at + 1), kind, lines, ..Act::default() }
    }

    fn rows(acts: &[Act]) -> Vec<(usize, usize)> {
        spans(acts).into_iter().map(|span| (span.first, span.last)).collect()
    }

    #[test]
    fn what_is_over_stands_above_and_what_overlaps_beside() {
        let one_by_one =
            [call(0, 0, Some(1), &["a"]), call(1, 2, Some(3), &["b"]), call(0, 4, Some(5), &["c"])];
        assert_eq!(rows(&one_by_one), [(0, 0), (1, 1), (2, 2)]);
        let beside = [call(0, 0, Some(9), &["a"]), call(1, 2, Some(3), &["b"]), call(1, 4, Some(5), &["c"])];
        assert_eq!(rows(&beside), [(0, 1), (0, 0), (1, 1)]);
    }

    #[test]
    fn what_never_returned_is_open_until_a_fault_or_the_end() {
        let cut = [call(0, 0, None, &["a"]), call(1, 2, Some(3), &["b"]), call(1, 4, Some(5), &["c"])];
        assert_eq!(rows(&cut), [(0, 1), (0, 0), (1, 1)]);
        let [a, b, c] = cut;
        let cut = [a, b, band(ActKind::Fault, 4), Act { call: 6, ret: Some(7), ..c }];
        assert_eq!(rows(&cut), [(0, 0), (0, 0), (1, 1), (2, 2)]);
    }

    #[test]
    fn no_text_leaves_the_picture_or_covers_another() {
        let long = "receive m12345678 = r12345678 #3 +123.456789s";
        let acts = vec![
            call(0, 0, Some(20), &["send m1 ok", long, "send m3 ?"]),
            call(1, 2, Some(3), &[long]),
            band(ActKind::Time, 4),
            call(1, 6, None, &["ack r1 ?"]),
            Act { culprits: vec![1, 2], ..call(1, 30, Some(31), &[long, long]) },
            band(ActKind::Fault, 40),
            band(ActKind::Hidden, 42),
        ];
        let names = vec!["session 1".to_owned(), "a session with a long name indeed".to_owned()];
        let lanes = Lanes { names, acts, ..Lanes::default() };
        let svg = draw("f", "<t>", &lanes).into_string();
        assert_eq!(collisions(&svg), Vec::<String>::new());
        assert!(svg.contains("&lt;t&gt;") && svg.contains("act doubt\"") && svg.contains(">1,2<"), "{svg}");
        // What was written by hand may lack something.
        let nameless = Lanes { names: Vec::new(), ..lanes };
        assert!(draw("f", "t", &nameless).into_string().contains("send m1 ok"));
        assert!(draw("f", "t", &Lanes::default()).into_string().contains("<svg"));
    }
}
