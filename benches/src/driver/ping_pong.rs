//! An item goes there and back before the next one goes: what a queue adds to the way of a cache line.

use std::sync::{Arc, Barrier};

use super::ends::{Receives, Sends, Staffed};
use super::workers::Workers;
use super::{Worked, drain};
use crate::ledger::{BenchLedger, Tally};
use crate::trial::{Fault, Span, Trial};
use crate::workload::{Identity, Item};

/// Sends `items` items through the first queue and, from another thread, back through the second.
pub(super) fn run<const WORDS: usize, S, R>(
    queues: [Staffed<S, R>; 2],
    items: u64,
    ordered: bool,
) -> Result<Trial, Fault>
where
    S: Sends<Item<WORDS>> + 'static,
    R: Receives<Item<WORDS>> + 'static,
{
    let barrier = Arc::new(Barrier::new(2));
    let [mut there, mut back] = queues;
    let (mut serve, mut hit) = (there.senders.swap_remove(0), there.receivers.swap_remove(0));
    let (mut return_, mut catch) = (back.senders.swap_remove(0), back.receivers.swap_remove(0));
    let crews = [there.crew, back.crew];

    let mut server = Workers::new();
    {
        let (crews, barrier) = (crews.clone(), Arc::clone(&barrier));
        server.start(0, move || {
            let _here = (crews[0].stay_pushing(), crews[1].stay_popping());
            let mut tally = Tally::new(std::iter::once(items), ordered);
            barrier.wait();
            let (span, (result, gave_up)) = Span::of(|| {
                for sequence in 0..items {
                    if let Err(gave_up) = serve.send(Item::new(Identity { producer: 0, sequence })) {
                        return (sequence, Some(gave_up));
                    }
                    match catch.receive() {
                        Ok(item) => tally.enter(item.identity()),
                        Err(gave_up) => return (sequence + 1, Some(gave_up)),
                    }
                }
                (items, None)
            });
            (Worked { span, gave_up, miscounted: 0, result }, tally, (!R::RELEASES_BY_DROP).then_some(catch))
        });
    }
    let mut returner = Workers::new();
    returner.start(1, move || {
        let _here = (crews[0].stay_popping(), crews[1].stay_pushing());
        barrier.wait();
        let (span, gave_up) = Span::of(|| {
            let turn = || hit.receive().and_then(|item| return_.send(item));
            std::iter::repeat_with(turn).take(items as usize).find_map(Result::err)
        });
        (Worked { span, gave_up, miscounted: 0, result: () }, (!R::RELEASES_BY_DROP).then_some(hit))
    });
    let (served, mut tally, catch) = server.join()?.swap_remove(0);
    let (returned, hit) = returner.join()?.swap_remove(0);

    let mut late = 0;
    for mut receiver in [catch, hit].into_iter().flatten() {
        late += drain(|| receiver.left_over(), &mut tally, items);
    }
    let stuck = served.is_stuck() || returned.is_stuck();
    let ledger = BenchLedger { late, stuck, ..Tally::ledger(items, vec![tally], &[served.result]) };
    Trial::judge(&[served.span, returned.span], ledger)
}
