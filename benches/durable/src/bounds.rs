//! What is counted or timed once, and is to be at most so much.

use std::fmt;

use stanchion_benches::duel::{times, verdict};

/// Something that is to be at most so much, and what it is. Its text is a line below the figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// What, with its unit.
    pub what: &'static str,
    /// The most that it is to be.
    pub most: f64,
    /// What it is, or why that says nothing.
    pub found: Result<f64, &'static str>,
}

impl Bound {
    /// The same words as for what has an interval.
    pub fn verdict(&self) -> &'static str {
        // Of what is to be at most so much the negative is to be at least so much less.
        self.found.map_or("not judged", |found| verdict(-self.most, -found, -found))
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.found.map_or_else(str::to_owned, times);
        let (what, most, verdict) = (self.what, times(self.most), self.verdict());
        write!(f, "      target: {what}: {found}, at most {most}: {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_reached_up_to_itself_and_missed_beyond() {
        let text = |found| Bound { what: "bytes", most: 512.0, found }.to_string();
        assert_eq!(text(Ok(512.0)), "      target: bytes: 512, at most 512: reached");
        assert_eq!(text(Ok(1.0)), "      target: bytes: 1.00, at most 512: reached");
        assert_eq!(text(Ok(513.0)), "      target: bytes: 513, at most 512: MISSED");
        assert_eq!(text(Err("too few")), "      target: bytes: too few, at most 512: not judged");
    }
}
