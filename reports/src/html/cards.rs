//! The semantics card of each broker: declared, observed, and the difference in words.

use maud::{Markup, html};

use crate::results::{CardLine, Difference, Results};

pub(super) fn section(results: &Results) -> Option<Markup> {
    (!results.cards.is_empty()).then(|| {
        html! {
            p {
                "A probe is a short plan with one question. What it saw stands beside what the contract says. It is "
                "one answer, not a proof: whether promises hold is decided above, over thousands of plans."
            }
            @for card in &results.cards {
                h3 { (card.queue) }
                div.scroll {
                    table.card {
                        thead {
                            tr {
                                th scope="col" { "Asked" } th scope="col" { "Declared" }
                                th scope="col" { "Observed" } th scope="col" { "Difference" }
                            }
                        }
                        tbody { @for line in &card.lines { (row(line)) } }
                    }
                }
            }
        }
    })
}

fn row(line: &CardLine) -> Markup {
    let words = line.difference.words();
    html! {
        tr {
            th scope="row" { (line.aspect) }
            td { (line.declared) }
            td { (line.learned) }
            @if line.difference == Difference::Over {
                td.broken { span aria-hidden="true" { "✗ " } (words) }
            } @else {
                td { (words) }
            }
        }
    }
}
