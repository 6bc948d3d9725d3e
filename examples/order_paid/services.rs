//! The services. Each does everything through [`Shop`], because that is where it can be killed; the ack comes after,
//! unless a service asks for it itself.

use crate::shop::{Arrival, Killed, Shop};

macro_rules! services {
    ($($service:ident $right:literal $what:literal;)*) => {
        /// A service, right or with one mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Service { $(#[doc = $what] $service,)* }

        impl Service {
            /// All of them.
            pub(crate) const ALL: &[Service] = &[$(Service::$service),*];

            /// What it does.
            pub(crate) fn what(self) -> &'static str {
                match self { $(Service::$service => $what),* }
            }

            /// Whether it has no mistake.
            pub(crate) fn is_right(self) -> bool {
                match self { $(Service::$service => $right),* }
            }
        }
    };
}

services! {
    Invoice true "writes the invoice and notes the order in one transaction";
    InvoiceAcksFirst false "acks, then writes the invoice: a service that dies in between forgets it";
    InvoiceNotesFirst false "notes the order, then writes the invoice: one that dies in between never writes it";
    InvoiceNotesLast false "writes the invoice, then notes the order: one that dies in between writes it again";
    InvoiceByReceipt false "notes the delivery instead of the order: the next delivery is another";
    Mail true "calls the mailer with the order as idempotency key";
    MailUnkeyed false "calls the mailer without a key";
    MailByAttempt false "mails only on the first attempt: one that dies before it mails never does";
    Stock true "inserts a reservation that is named by the order";
    StockDecrements false "takes one from the count";
    Turnover true "adds the order to a set, and sums it up when asked";
    TurnoverAdds false "adds the amount to a sum";
    TurnoverRemembersLast false "passes over an order that equals the one before: another may come between";
}

impl Service {
    /// Handles one delivery.
    pub(crate) fn handle(self, arrival: &Arrival, shop: &mut Shop) -> Result<(), Killed> {
        let order = arrival.order;
        let invoiced = |shop: &mut Shop, note: u128| {
            shop.transaction("writes invoice and note", |tables| {
                if tables.notes.insert(note) {
                    tables.invoices.push(order);
                }
            })
        };
        match self {
            Service::Invoice => invoiced(shop, order.into()),
            Service::InvoiceByReceipt => invoiced(shop, arrival.receipt.0),
            Service::InvoiceAcksFirst => {
                shop.ack()?;
                invoiced(shop, order.into())
            }
            Service::InvoiceNotesFirst => {
                let new = shop.transaction("notes it", |tables| tables.notes.insert(order.into()))?;
                if new {
                    shop.transaction("writes the invoice", |tables| tables.invoices.push(order))
                } else {
                    Ok(())
                }
            }
            Service::InvoiceNotesLast => {
                if !shop.transaction("looks for a note", |tables| tables.notes.contains(&order.into()))? {
                    shop.transaction("writes the invoice", |tables| tables.invoices.push(order))?;
                }
                shop.transaction("notes it", |tables| tables.notes.insert(order.into())).map(drop)
            }
            Service::Mail => shop.mail(order, Some(order)),
            Service::MailUnkeyed => shop.mail(order, None),
            Service::MailByAttempt => {
                if arrival.attempt == 1 {
                    shop.mail(order, Some(order))
                } else {
                    Ok(())
                }
            }
            Service::Stock => {
                shop.transaction("reserves the goods", |tables| tables.reserved.insert(order)).map(drop)
            }
            Service::StockDecrements => {
                shop.transaction("takes one from the count", |tables| tables.taken += 1)
            }
            Service::Turnover => {
                shop.transaction("adds it to the set", |tables| tables.sold.insert(order)).map(drop)
            }
            Service::TurnoverAdds => shop.transaction("adds its amount", |tables| tables.turnover += order),
            Service::TurnoverRemembersLast => {
                shop.transaction("adds its amount unless it is the last", |tables| {
                    if tables.last.replace(order) != Some(order) {
                        tables.turnover += order;
                    }
                })
            }
        }
    }

    /// What the tables say of these orders that they should not: `None` if each had its effect once.
    pub(crate) fn wrong(self, shop: &Shop, orders: u64) -> Option<(Option<u64>, String)> {
        let tables = &shop.tables;
        let each = |count: &dyn Fn(u64) -> usize, done: &str| {
            let wrong = (1..=orders).map(|order| (order, count(order))).find(|(_, times)| *times != 1)?;
            let (order, times) = wrong;
            Some((Some(order), format!("order {order} was {done} {times} times")))
        };
        let count = |of: &[u64], order| of.iter().filter(|other| **other == order).count();
        let total = |is: u64, should: u64, what: &str| {
            (is != should).then(|| (None, format!("{what} is {is} and should be {should}")))
        };
        let sum = orders * (orders + 1) / 2;
        match self {
            Service::Invoice
            | Service::InvoiceAcksFirst
            | Service::InvoiceNotesFirst
            | Service::InvoiceNotesLast
            | Service::InvoiceByReceipt => each(&|order| count(&tables.invoices, order), "invoiced"),
            Service::Mail | Service::MailUnkeyed | Service::MailByAttempt => {
                each(&|order| count(&shop.mailed, order), "mailed")
            }
            Service::Stock => each(&|order| usize::from(tables.reserved.contains(&order)), "reserved"),
            Service::StockDecrements => total(tables.taken, orders, "what was taken from the stock"),
            Service::Turnover => total(tables.sold.iter().sum(), sum, "the turnover"),
            Service::TurnoverAdds | Service::TurnoverRemembersLast => {
                total(tables.turnover, sum, "the turnover")
            }
        }
    }
}
