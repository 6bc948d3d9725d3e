//! One test per rule, then all of them against a model that does everything the slow way.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::*;
use crate::broker::{MessageId, Reason, Settle};
use crate::buffer::{Ends, Opened, Pop, Push};
use crate::buffers::{MutexDeque, Ring, SegQueue, TokioChannel};
use crate::contract::{BufferContract, Requeue};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(10);

/// A broker over the ring, its clock, and one session.
struct Bench {
    broker: Leased<Ring>,
    clock: Clock,
    session: LeasedSession<Ring>,
}

fn bench(capacity: usize, deliveries_allowed: u32) -> Bench {
    let clock = Clock::manual();
    let settings = Settings { capacity, deliveries_allowed, clock: clock.clone(), seed: 0 };
    let broker = Leased::open(&settings).expect("the settings are valid");
    let session = broker.session().expect("the broker is open");
    Bench { broker, clock, session }
}

impl Bench {
    fn another(&self) -> LeasedSession<Ring> {
        self.broker.session().expect("the broker is open")
    }
}

/// The operations, for tests in which nothing goes wrong.
trait Easy: Session {
    fn put(&mut self, text: &str) -> MessageId {
        self.put_delayed(text, Duration::ZERO)
    }

    fn put_delayed(&mut self, text: &str, delay: Duration) -> MessageId {
        match self.send(&[Message::new(text.as_bytes()).with_delay(delay)]).remove(0) {
            Sent::Confirmed(id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self) -> bool {
        matches!(self.send(&[Message::new(*b"x")]).remove(0), Sent::Refused(Refusal::Full))
    }

    fn take_many(&mut self, max: usize) -> Vec<Delivery> {
        self.receive(max, LEASE).expect("the arguments are valid")
    }

    fn take(&mut self) -> Delivery {
        self.take_many(1).pop().expect("a message is ready")
    }

    fn is_empty(&mut self) -> bool {
        self.take_many(1).is_empty()
    }

    /// Whether the receipt was good.
    fn settles(&mut self, receipt: Receipt, how: Settle) -> bool {
        match self.settle(&[Settlement { receipt, how }]).remove(0) {
            Settled::Done => true,
            Settled::Stale => false,
            Settled::InDoubt(error) => panic!("{error}"),
        }
    }

    fn acks(&mut self, delivery: &Delivery) -> bool {
        self.settles(delivery.receipt, Settle::Ack)
    }

    fn nacks(&mut self, delivery: &Delivery) -> bool {
        self.settles(delivery.receipt, Settle::Nack { delay: Duration::ZERO })
    }

    fn extends(&mut self, delivery: &Delivery, lease: Duration) -> bool {
        matches!(self.extend(delivery.receipt, lease), Settled::Done)
    }

    fn dead(&mut self) -> Vec<(MessageId, Reason, u32)> {
        let letters = self.dead_letters(usize::MAX).expect("the broker is open");
        letters.into_iter().map(|letter| (letter.id, letter.reason, letter.attempts)).collect()
    }

    fn counts(&mut self) -> [u64; 4] {
        let Depth { ready, in_flight, delayed, dead } = self.depth().expect("the broker is open");
        [ready, in_flight, delayed, dead]
    }
}

impl<S: Session> Easy for S {}

fn ids(deliveries: &[Delivery]) -> Vec<MessageId> {
    deliveries.iter().map(|delivery| delivery.id).collect()
}

#[test]
fn delivers_key_and_body_as_sent_in_the_order_of_the_sends() {
    let Bench { mut session, .. } = bench(4, 5);
    let message = Message::new(*b"body").with_key(*b"key");
    session.send(&[message.clone(), Message::new(*b"second")]);
    let deliveries = session.take_many(10);
    assert_eq!(deliveries.len(), 2);
    assert_eq!((&deliveries[0].key, &deliveries[0].body), (&message.key, &message.body));
    assert_eq!((&deliveries[1].key, &*deliveries[1].body), (&None, &b"second"[..]));
    assert!(
        deliveries.iter().all(|delivery| delivery.attempt == 1 && delivery.deadline == Time::ZERO + LEASE)
    );
}

#[test]
fn a_message_under_a_lease_is_delivered_to_nobody_else() {
    let mut bench = bench(4, 5);
    bench.session.put("a");
    bench.session.take();
    assert!(bench.another().is_empty() && bench.session.is_empty());
}

#[test]
fn an_acked_message_never_comes_back() {
    let Bench { clock, mut session, .. } = bench(4, 5);
    session.put("a");
    let delivery = session.take();
    assert!(session.acks(&delivery));
    clock.advance(LEASE * 2);
    assert!(session.is_empty());
    assert_eq!(session.counts(), [0, 0, 0, 0]);
}

#[test]
fn any_session_may_settle_a_receipt() {
    let mut bench = bench(4, 5);
    bench.session.put("a");
    let delivery = bench.session.take();
    assert!(bench.another().acks(&delivery));
    assert_eq!(bench.session.counts(), [0, 0, 0, 0]);
}

#[test]
fn a_lease_is_live_before_its_deadline_and_over_at_it() {
    let Bench { clock, mut session, .. } = bench(4, 5);
    session.put("a");
    let first = session.take();
    clock.advance(LEASE - Duration::from_nanos(1));
    assert!(session.is_empty());
    clock.advance(Duration::from_nanos(1));
    assert!(!session.acks(&first));
    let second = session.take();
    assert_eq!((second.id, second.attempt), (first.id, 2));
}

#[test]
fn attempts_are_counted_at_hand_over() {
    let Bench { mut session, .. } = bench(4, 5);
    session.put("a");
    for attempt in 1..=4 {
        let delivery = session.take();
        assert_eq!(delivery.attempt, attempt);
        assert!(session.nacks(&delivery));
    }
}

#[test]
fn every_kind_of_stale_receipt_is_refused_and_changes_nothing() {
    let mut bench = bench(4, 9);
    let (a, b) = (bench.session.put("a"), bench.session.put("b"));
    let acked = bench.session.take();
    assert!(bench.session.acks(&acked));
    let nacked = bench.session.take();
    assert!(bench.session.nacks(&nacked));
    let lost = {
        let mut other = bench.another();
        other.take()
    };
    let expired = bench.session.take();
    bench.clock.advance(LEASE);
    let delayed = bench.session.take();
    assert!(bench.session.settles(delayed.receipt, Settle::Nack { delay: SECOND }));
    let foreign = {
        let mut other = self::bench(4, 5);
        other.session.put("x");
        other.session.take()
    };
    assert_eq!([acked.id, nacked.id, lost.id, expired.id, delayed.id], [a, b, b, b, b]);
    let invented = Receipt(delayed.receipt.0 ^ 0xffff_fff0);
    for receipt in [acked, nacked, lost, expired, delayed, foreign]
        .map(|delivery| delivery.receipt)
        .into_iter()
        .chain([invented, Receipt(0), Receipt(u128::MAX)])
    {
        for how in [Settle::Ack, Settle::Nack { delay: Duration::ZERO }, Settle::Reject] {
            assert!(!bench.session.settles(receipt, how), "{receipt:?} {how:?}");
        }
        assert!(matches!(bench.session.extend(receipt, LEASE), Settled::Stale));
    }
    assert_eq!(bench.session.counts(), [0, 0, 1, 0]);
}

#[test]
fn a_stale_receipt_does_not_touch_the_next_delivery_of_the_same_message() {
    let Bench { clock, mut session, .. } = bench(4, 5);
    session.put("a");
    let old = session.take();
    clock.advance(LEASE);
    let current = session.take();
    assert!(!session.acks(&old) && !session.nacks(&old));
    assert!(session.acks(&current));
}

#[test]
fn one_receipt_settles_once_even_within_a_batch() {
    let Bench { mut session, .. } = bench(4, 5);
    session.put("a");
    let receipt = session.take().receipt;
    let ack = Settlement { receipt, how: Settle::Ack };
    assert!(matches!(session.settle(&[ack, ack])[..], [Settled::Done, Settled::Stale]));
}

#[test]
fn no_receipt_is_issued_twice_also_across_brokers() {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let Bench { mut session, .. } = bench(2, 1_000);
        session.put("a");
        session.put("b");
        for _ in 0..50 {
            for delivery in session.take_many(2) {
                assert!(seen.insert(delivery.receipt));
                assert!(session.nacks(&delivery));
            }
        }
    }
}

#[test]
fn a_receipt_of_a_former_life_is_stale_though_slot_and_generation_are_the_same() {
    let [mut former, mut present] = [bench(4, 5), bench(4, 5)].map(|bench| bench.session);
    former.put("a");
    present.put("a");
    let (old, current) = (former.take(), present.take());
    assert_eq!(old.receipt.0 as u64, current.receipt.0 as u64);
    assert!(!present.acks(&old));
    assert!(present.acks(&current));
}

#[test]
fn a_slot_whose_generations_are_used_up_is_never_used_again() {
    let mut bench = bench(4, 9);
    bench.session.put("a");
    let first = bench.session.take();
    let slot = first.receipt.0 as u32;
    assert!(bench.session.nacks(&first));
    bench.broker.shared.lock().expect("nobody panicked").exhaust(slot);
    let second = bench.session.take();
    assert_ne!(second.receipt.0 as u32, slot);
    assert_eq!((second.id, second.attempt), (first.id, 2));
    assert!(bench.session.acks(&second));
    for _ in 0..3 {
        bench.session.put("b");
    }
    assert!(bench.session.take_many(3).iter().all(|delivery| delivery.receipt.0 as u32 != slot));
}

#[test]
fn a_nacked_message_is_ready_at_once_where_it_stood() {
    let Bench { mut session, .. } = bench(4, 5);
    let (a, b, c) = (session.put("a"), session.put("b"), session.put("c"));
    let deliveries = session.take_many(2);
    assert!(session.nacks(&deliveries[1]) && session.nacks(&deliveries[0]));
    assert_eq!(ids(&session.take_many(9)), [a, b, c]);
}

#[test]
fn a_nack_with_delay_comes_neither_early_nor_never() {
    let Bench { clock, mut session, .. } = bench(4, 5);
    let a = session.put("a");
    let first = session.take();
    let b = session.put("b");
    assert!(session.settles(first.receipt, Settle::Nack { delay: SECOND }));
    assert_eq!(session.counts(), [1, 0, 1, 0]);
    clock.advance(SECOND - Duration::from_nanos(1));
    assert_eq!(session.counts(), [1, 0, 1, 0]);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(ids(&session.take_many(9)), [a, b]);
}

#[test]
fn a_delayed_send_comes_neither_early_nor_never() {
    let Bench { clock, mut session, .. } = bench(4, 5);
    let a = session.put_delayed("a", SECOND);
    assert!(session.is_empty());
    assert_eq!(session.counts(), [0, 0, 1, 0]);
    clock.advance(SECOND);
    let delivery = session.take();
    assert_eq!((delivery.id, delivery.attempt), (a, 1));
}

#[test]
fn a_message_whose_delay_is_over_stands_before_what_was_sent_after_it_and_behind_what_was_sent_before() {
    let Bench { clock, mut session, .. } = bench(8, 5);
    let (a, b, c) = (session.put("a"), session.put_delayed("b", SECOND), session.put("c"));
    clock.advance(SECOND);
    assert_eq!(ids(&session.take_many(1)), [a]);
    assert_eq!(ids(&session.take_many(9)), [b, c]);
}

#[test]
fn a_delay_or_lease_without_end_never_ends() {
    let Bench { clock, mut session, .. } = bench(4, 5);
    session.put("a");
    session.put_delayed("b", Duration::MAX);
    let delivery = session.receive(1, Duration::MAX).expect("the lease is valid").remove(0);
    assert_eq!(delivery.deadline, Time::FAR_FUTURE);
    clock.advance(Duration::from_secs(1_000_000_000));
    assert_eq!(session.counts(), [0, 1, 1, 0]);
}

#[test]
fn the_last_allowed_attempt_that_ends_by_nack_kills_whatever_the_delay() {
    let Bench { mut session, .. } = bench(4, 2);
    let a = session.put("a");
    let first = session.take();
    session.nacks(&first);
    let second = session.take();
    assert!(session.settles(second.receipt, Settle::Nack { delay: SECOND }));
    assert_eq!(session.dead(), [(a, Reason::Attempts, 2)]);
    assert!(session.is_empty());
}

#[test]
fn the_last_allowed_attempt_that_ends_by_expiry_kills() {
    let Bench { clock, mut session, .. } = bench(4, 1);
    let a = session.put("a");
    session.take();
    clock.advance(LEASE);
    assert_eq!(session.dead(), [(a, Reason::Attempts, 1)]);
}

#[test]
fn the_last_allowed_attempt_that_ends_by_session_loss_kills() {
    let mut bench = bench(4, 1);
    let a = bench.session.put("a");
    bench.another().take();
    assert_eq!(bench.session.dead(), [(a, Reason::Attempts, 1)]);
}

#[test]
fn a_reject_kills_at_once_and_keeps_the_count() {
    let Bench { mut session, .. } = bench(4, 5);
    let a = session.put("a");
    let delivery = session.take();
    assert!(session.settles(delivery.receipt, Settle::Reject));
    assert_eq!(session.dead(), [(a, Reason::Rejected, 1)]);
    assert_eq!(session.counts(), [0, 0, 0, 1]);
}

#[test]
fn dead_letters_keep_key_and_body_and_are_shown_oldest_death_first_without_change() {
    let Bench { clock, mut session, .. } = bench(8, 1);
    let message = Message::new(*b"body").with_key(*b"key");
    session.send(std::slice::from_ref(&message));
    for text in ["b", "c", "d"] {
        session.put(text);
    }
    let mut deliveries: VecDeque<_> = session.take_many(4).into();
    let a = deliveries.pop_front().expect("four were ready");
    let b = deliveries.pop_front().expect("four were ready");
    assert!(session.extends(&b, LEASE * 2));
    // c and d die at the same instant, before b; a is rejected later still.
    clock.advance(LEASE);
    assert!(!session.acks(&a));
    clock.advance(LEASE * 3);
    let order: Vec<_> = session.dead().into_iter().map(|(id, ..)| id.0).collect();
    assert_eq!(order, [0, 2, 3, 1]);
    let shown = session.dead_letters(1).expect("the broker is open").remove(0);
    assert_eq!((shown.id, &shown.key, &shown.body), (a.id, &message.key, &message.body));
    assert_eq!(session.counts(), [0, 0, 0, 4]);
}

#[test]
fn redrive_moves_the_oldest_deaths_under_their_ids_and_starts_the_count_again() {
    let Bench { mut session, .. } = bench(8, 1);
    let (a, b) = (session.put("a"), session.put("b"));
    for delivery in session.take_many(2).iter().rev() {
        assert!(session.nacks(delivery));
    }
    assert_eq!(session.redrive(0).expect("the broker is open"), 0);
    assert_eq!(session.redrive(1).expect("the broker is open"), 1);
    assert_eq!(session.dead(), [(a, Reason::Attempts, 1)]);
    let again = session.take();
    assert_eq!((again.id, again.attempt), (b, 1));
    assert!(session.nacks(&again));
    assert_eq!(session.dead(), [(a, Reason::Attempts, 1), (b, Reason::Attempts, 1)]);
}

#[test]
fn a_redriven_message_stands_before_everything_sent_after_it() {
    let Bench { mut session, .. } = bench(8, 1);
    let (a, b) = (session.put("a"), session.put("b"));
    let first = session.take();
    assert!(session.settles(first.receipt, Settle::Reject));
    assert_eq!(session.redrive(usize::MAX).expect("the broker is open"), 1);
    assert_eq!(ids(&session.take_many(9)), [a, b]);
}

#[test]
fn redrive_moves_only_as_many_as_fit() {
    let Bench { mut session, .. } = bench(2, 1);
    session.put("a");
    session.put("b");
    for delivery in session.take_many(2) {
        session.nacks(&delivery);
    }
    session.put("c");
    assert_eq!(session.redrive(usize::MAX).expect("the broker is open"), 1);
    assert_eq!(session.counts(), [2, 0, 0, 1]);
    assert_eq!(session.redrive(usize::MAX).expect("the broker is open"), 0);
    assert!(session.refused());
}

#[test]
fn extend_moves_the_deadline_from_now() {
    let Bench { clock, mut session, .. } = bench(4, 5);
    session.put("a");
    let delivery = session.take();
    clock.advance(SECOND * 5);
    assert!(session.extends(&delivery, LEASE));
    clock.advance(LEASE - Duration::from_nanos(1));
    assert_eq!(session.counts(), [0, 1, 0, 0]);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(session.counts(), [1, 0, 0, 0]);
}

#[test]
fn extend_never_shortens() {
    let Bench { clock, mut session, .. } = bench(4, 5);
    session.put("a");
    let delivery = session.take();
    assert!(session.extends(&delivery, SECOND) && session.extends(&delivery, Duration::ZERO));
    clock.advance(LEASE - Duration::from_nanos(1));
    assert!(session.acks(&delivery));
}

#[test]
fn extend_never_revives() {
    let Bench { clock, mut session, .. } = bench(4, 5);
    session.put("a");
    let delivery = session.take();
    clock.advance(LEASE);
    assert!(!session.extends(&delivery, LEASE));
    assert_eq!(session.counts(), [1, 0, 0, 0]);
}

#[test]
fn capacity_counts_ready_in_flight_and_delayed_but_not_dead() {
    let Bench { mut session, .. } = bench(3, 1);
    session.put("a");
    session.take();
    session.put_delayed("b", SECOND);
    session.put("c");
    assert_eq!(session.counts(), [1, 1, 1, 0]);
    assert!(session.refused());
    let c = session.take();
    assert!(session.refused());
    assert!(session.nacks(&c));
    assert_eq!(session.counts(), [0, 1, 1, 1]);
    session.put("d");
    assert!(session.refused());
}

#[test]
fn a_send_finds_the_room_of_a_message_whose_last_attempt_is_over() {
    let Bench { clock, mut session, .. } = bench(1, 1);
    session.put("a");
    session.take();
    clock.advance(LEASE);
    session.put("b");
}

#[test]
fn a_refused_send_leaves_nothing_behind_and_the_rest_of_the_batch_has_outcomes_of_its_own() {
    let Bench { mut session, .. } = bench(2, 5);
    let messages = ["a", "b", "c", "d"].map(|text| Message::new(text.as_bytes()));
    let sent = session.send(&messages);
    assert!(matches!(
        sent[..],
        [
            Sent::Confirmed(MessageId(0)),
            Sent::Confirmed(MessageId(1)),
            Sent::Refused(Refusal::Full),
            Sent::Refused(Refusal::Full)
        ]
    ));
    let deliveries = session.take_many(9);
    assert_eq!(deliveries.len(), 2);
    assert!(session.acks(&deliveries[0]));
    assert_eq!(session.put("e"), MessageId(2));
}

#[test]
fn a_dropped_session_ends_its_leases_at_once_and_no_others() {
    let mut bench = bench(8, 5);
    for text in ["a", "b", "c", "d"] {
        bench.session.put(text);
    }
    let mine = bench.session.take();
    let mut other = bench.another();
    let theirs = other.take_many(3);
    assert!(bench.session.acks(&theirs[1]));
    assert_eq!(bench.session.counts(), [0, 3, 0, 0]);
    drop(other);
    assert_eq!(bench.session.counts(), [2, 1, 0, 0]);
    assert!(!bench.session.acks(&theirs[0]));
    assert!(bench.session.acks(&mine));
    let again = bench.session.take_many(9);
    assert_eq!(ids(&again), [theirs[0].id, theirs[2].id]);
    assert!(again.iter().all(|delivery| delivery.attempt == 2));
}

#[test]
fn a_session_that_takes_the_number_of_a_lost_one_does_not_inherit_its_leases() {
    let mut bench = bench(8, 5);
    bench.session.put("a");
    bench.another().take();
    let mut next = bench.another();
    let delivery = bench.session.take();
    next.put("b");
    next.take();
    drop(next);
    assert!(bench.session.acks(&delivery));
    assert_eq!(bench.session.counts(), [1, 0, 0, 0]);
}

#[test]
fn arguments_that_make_no_sense_are_invalid() {
    let Bench { mut session, .. } = bench(4, 5);
    assert!(matches!(session.receive(0, LEASE), Err(Error::Invalid { what: "max", .. })));
    assert!(matches!(session.receive(1, Duration::ZERO), Err(Error::Invalid { what: "lease", .. })));
}

#[test]
fn settings_that_make_no_sense_are_invalid() {
    let open = |capacity, deliveries_allowed| {
        Leased::<Ring>::open(&Settings { capacity, deliveries_allowed, ..Settings::new() })
    };
    assert!(matches!(open(0, 5), Err(Error::Invalid { what: "capacity", .. })));
    assert!(matches!(open(usize::MAX, 5), Err(Error::Invalid { what: "capacity", .. })));
    assert!(matches!(open(5, 0), Err(Error::Invalid { what: "deliveries_allowed", .. })));
}

#[test]
fn the_contract_says_what_the_settings_and_the_buffer_say() {
    let contract = bench(7, 3).broker.contract();
    let expected = Contract { capacity: Some(7), deliveries_allowed: Some(3), ..Contract::in_memory() };
    assert_eq!(contract, expected);
    assert_eq!((contract.order, contract.requeue), (Order::Fifo, Requeue::Original));
}

#[test]
fn sessions_keep_the_queue_alive() {
    let Bench { broker, mut session, .. } = bench(4, 5);
    drop(broker);
    session.put("a");
    let delivery = session.take();
    assert!(session.acks(&delivery));
}

#[test]
fn threads_share_one_broker() {
    const EACH: usize = 2_000;
    let settings = Settings { capacity: 16, ..Settings::new() };
    let broker = Leased::<TokioChannel>::open(&settings).expect("the settings are valid");
    let acked = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let mut session = broker.session().expect("the broker is open");
            scope.spawn(move || {
                for _ in 0..EACH {
                    while session.refused() {
                        std::thread::yield_now();
                    }
                }
            });
            let mut session = broker.session().expect("the broker is open");
            let acked = &acked;
            scope.spawn(move || {
                while acked.load(Ordering::SeqCst) < 2 * EACH {
                    for delivery in session.receive(3, Duration::MAX).expect("the arguments are valid") {
                        assert!(session.acks(&delivery));
                        acked.fetch_add(1, Ordering::SeqCst);
                    }
                    std::thread::yield_now();
                }
            });
        }
    });
    assert_eq!(broker.session().expect("the broker is open").counts(), [0, 0, 0, 0]);
    assert_eq!(acked.into_inner(), 2 * EACH);
}

/// Refuses every second push, and panics when told to.
struct Moody;

struct MoodyEnd<T> {
    items: Arc<Mutex<VecDeque<T>>>,
    pushes: usize,
}

impl Buffer for Moody {
    const CONTRACT: BufferContract = BufferContract { order: Order::Unordered, ..BufferContract::FIFO };
    type Producer<T: Send + 'static> = MoodyEnd<T>;
    type Consumer<T: Send + 'static> = MoodyEnd<T>;

    fn open<T: Send + 'static>(_: Shape) -> Opened<MoodyEnd<T>, MoodyEnd<T>> {
        let items = Arc::default();
        let end = || MoodyEnd { items: Arc::clone(&items), pushes: 0 };
        Ok(Ends { producers: vec![end()], consumers: vec![end()] })
    }
}

impl<T: Send> Push<T> for MoodyEnd<T> {
    fn push(&mut self, item: T) -> Result<(), Full<T>> {
        self.pushes += 1;
        assert!(self.pushes < 5, "a buffer that panics on purpose");
        if self.pushes.is_multiple_of(2) {
            return Err(Full(item));
        }
        self.items.lock().expect("nobody panics under the lock").push_back(item);
        Ok(())
    }
}

impl<T: Send> Pop<T> for MoodyEnd<T> {
    fn pop(&mut self) -> Option<T> {
        self.items.lock().expect("nobody panics under the lock").pop_front()
    }
}

#[test]
fn a_refusal_of_the_buffer_is_a_refusal_and_changes_nothing() {
    let broker = Leased::<Moody>::open(&Settings::new()).expect("the settings are valid");
    assert_eq!(broker.contract().order, Order::Unordered);
    let mut session = broker.session().expect("the broker is open");
    assert_eq!(session.put("a"), MessageId(0));
    assert!(session.refused());
    assert_eq!(session.put("b"), MessageId(1));
    assert_eq!(session.counts(), [2, 0, 0, 0]);
}

#[test]
fn a_buffer_that_panics_takes_its_broker_along_but_nobody_else() {
    let broker = Leased::<Moody>::open(&Settings::new()).expect("the settings are valid");
    let mut session = broker.session().expect("the broker is open");
    session.send(&[Message::new(*b"x"), Message::new(*b"x"), Message::new(*b"x"), Message::new(*b"x")]);
    assert!(catch_unwind(AssertUnwindSafe(|| session.put("e"))).is_err());
    let sent = session.send(&[Message::new(*b"x")]).remove(0);
    assert!(matches!(sent, Sent::Refused(Refusal::Unavailable(_))));
    assert!(matches!(session.receive(1, LEASE), Err(Error::Gone(_))));
    let settled = session.settle(&[Settlement { receipt: Receipt(1), how: Settle::Ack }]).remove(0);
    assert!(matches!(settled, Settled::InDoubt(Error::Gone(_))));
    assert!(matches!(session.depth(), Err(Error::Gone(_))));
    assert!(broker.session().is_err());
    drop(session);
}

/// What the broker promises, done the slow way: every message in one list.
struct Model {
    messages: Vec<Modelled>,
    deaths: Vec<usize>,
    capacity: usize,
    deliveries_allowed: u32,
    now: Time,
}

#[derive(Clone, Debug)]
struct Modelled {
    state: Place,
    attempts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Ready,
    InFlight { until: Time, session: usize, delivery: usize },
    Delayed { until: Time },
    Dead(Reason),
    Gone,
}

impl Model {
    fn count(&self, is: impl Fn(Place) -> bool) -> usize {
        self.messages.iter().filter(|message| is(message.state)).count()
    }

    fn resident(&self) -> usize {
        self.count(|state| !matches!(state, Place::Dead(_) | Place::Gone))
    }

    fn sweep(&mut self) {
        let mut due: Vec<(Time, usize)> = Vec::new();
        for (id, message) in self.messages.iter().enumerate() {
            if let Place::InFlight { until, .. } | Place::Delayed { until } = message.state
                && until <= self.now
            {
                due.push((until, id));
            }
        }
        due.sort_unstable();
        for (_, id) in due {
            match self.messages[id].state {
                Place::Delayed { .. } => self.messages[id].state = Place::Ready,
                _ => self.fail(id, Duration::ZERO),
            }
        }
    }

    fn fail(&mut self, id: usize, delay: Duration) {
        if self.messages[id].attempts >= self.deliveries_allowed {
            self.kill(id, Reason::Attempts);
        } else {
            self.messages[id].state = self.waiting(delay);
        }
    }

    fn kill(&mut self, id: usize, reason: Reason) {
        self.messages[id].state = Place::Dead(reason);
        self.deaths.push(id);
    }

    fn waiting(&self, delay: Duration) -> Place {
        if delay.is_zero() { Place::Ready } else { Place::Delayed { until: self.now + delay } }
    }

    fn leased(&self, delivery: usize) -> Option<usize> {
        self.messages.iter().position(
            |message| matches!(message.state, Place::InFlight { delivery: current, .. } if current == delivery),
        )
    }
}

#[derive(Clone, Debug)]
enum Op {
    Send { delay: u64 },
    Receive { session: usize, max: usize, lease: u64 },
    Ack(usize),
    Nack { of: usize, delay: u64 },
    Reject(usize),
    Extend { of: usize, lease: u64 },
    Redrive(usize),
    Advance(u64),
    LoseSession(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let delay = || prop_oneof![2 => Just(0), 1 => 1..5_u64];
    let op = prop_oneof![
        4 => delay().prop_map(|delay| Op::Send { delay }),
        4 => (0..2_usize, 1..4_usize, 1..6_u64)
            .prop_map(|(session, max, lease)| Op::Receive { session, max, lease }),
        2 => (0..8_usize).prop_map(Op::Ack),
        2 => (0..8_usize, delay()).prop_map(|(of, delay)| Op::Nack { of, delay }),
        1 => (0..8_usize).prop_map(Op::Reject),
        1 => (0..8_usize, 0..8_u64).prop_map(|(of, lease)| Op::Extend { of, lease }),
        1 => (0..3_usize).prop_map(Op::Redrive),
        2 => (1..4_u64).prop_map(Op::Advance),
        1 => (0..2_usize).prop_map(Op::LoseSession),
    ];
    proptest::collection::vec(op, 0..120)
}

/// Runs the operations on the broker and on the model, and compares every answer and the state after it.
fn agrees_with_model<B: Buffer>(
    capacity: usize,
    deliveries_allowed: u32,
    ops: &[Op],
) -> Result<(), TestCaseError> {
    let clock = Clock::manual();
    let settings = Settings { capacity, deliveries_allowed, clock: clock.clone(), seed: 0 };
    let broker = Leased::<B>::open(&settings).expect("the settings are valid");
    let session = || broker.session().expect("the broker is open");
    let (mut observer, mut sessions) = (session(), [session(), session()]);
    let mut model =
        Model { messages: Vec::new(), deaths: Vec::new(), capacity, deliveries_allowed, now: Time::ZERO };
    let mut receipts: Vec<Receipt> = Vec::new();
    // Old deliveries are interesting, but recent ones more so: `of` counts from the newest.
    let delivery = |receipts: &[Receipt], of: usize| receipts.len().checked_sub(of + 1);
    for op in ops {
        model.sweep();
        match *op {
            Op::Send { delay } => {
                let delay = Duration::from_nanos(delay);
                let sent = observer.send(&[Message::new(*b"x").with_delay(delay)]).remove(0);
                if model.resident() < model.capacity {
                    let id = model.messages.len();
                    prop_assert!(matches!(sent, Sent::Confirmed(MessageId(given)) if given == id as u64));
                    model.messages.push(Modelled { state: model.waiting(delay), attempts: 0 });
                } else {
                    prop_assert!(matches!(sent, Sent::Refused(Refusal::Full)));
                }
            }
            Op::Receive { session, max, lease } => {
                let lease = Duration::from_nanos(lease);
                let mut got =
                    sessions[session].receive(max, lease).expect("the arguments are valid").into_iter();
                let (until, before) = (model.now + lease, receipts.len());
                for id in 0..model.messages.len() {
                    let message = &mut model.messages[id];
                    if message.state == Place::Ready && got.len() > 0 {
                        message.attempts += 1;
                        message.state = Place::InFlight { until, session, delivery: receipts.len() };
                        let delivery = got.next().expect("it is not empty");
                        prop_assert_eq!(delivery.id, MessageId(id as u64));
                        prop_assert_eq!((delivery.attempt, delivery.deadline), (message.attempts, until));
                        prop_assert!(!receipts.contains(&delivery.receipt));
                        receipts.push(delivery.receipt);
                    }
                }
                prop_assert_eq!(got.len(), 0);
                let exhausted = model.count(|state| state == Place::Ready) == 0;
                prop_assert!(receipts.len() - before == max || exhausted);
            }
            Op::Ack(of) | Op::Nack { of, .. } | Op::Reject(of) => {
                let Some(delivery) = delivery(&receipts, of) else { continue };
                let how = match *op {
                    Op::Nack { delay, .. } => Settle::Nack { delay: Duration::from_nanos(delay) },
                    Op::Reject(_) => Settle::Reject,
                    _ => Settle::Ack,
                };
                let leased = model.leased(delivery);
                prop_assert_eq!(observer.settles(receipts[delivery], how), leased.is_some());
                match (leased, how) {
                    (None, _) => {}
                    (Some(id), Settle::Ack) => model.messages[id].state = Place::Gone,
                    (Some(id), Settle::Nack { delay }) => model.fail(id, delay),
                    (Some(id), Settle::Reject) => model.kill(id, Reason::Rejected),
                }
            }
            Op::Extend { of, lease } => {
                let Some(delivery) = delivery(&receipts, of) else { continue };
                let leased = model.leased(delivery);
                let outcome = observer.extend(receipts[delivery], Duration::from_nanos(lease));
                prop_assert_eq!(matches!(outcome, Settled::Done), leased.is_some());
                let asked = model.now + Duration::from_nanos(lease);
                if let Some(id) = leased
                    && let Place::InFlight { until, .. } = &mut model.messages[id].state
                {
                    *until = asked.max(*until);
                }
            }
            Op::Redrive(max) => {
                let many = max.min(model.deaths.len()).min(model.capacity - model.resident());
                prop_assert_eq!(observer.redrive(max).expect("the broker is open"), many);
                for id in model.deaths.drain(..many) {
                    model.messages[id] = Modelled { state: Place::Ready, attempts: 0 };
                }
            }
            Op::Advance(nanos) => {
                clock.advance(Duration::from_nanos(nanos));
                model.now = clock.now();
                model.sweep();
            }
            Op::LoseSession(lost) => {
                sessions[lost] = session();
                for id in 0..model.messages.len() {
                    if matches!(model.messages[id].state, Place::InFlight { session, .. } if session == lost)
                    {
                        model.fail(id, Duration::ZERO);
                    }
                }
            }
        }
        let depth = [
            model.count(|state| state == Place::Ready),
            model.count(|state| matches!(state, Place::InFlight { .. })),
            model.count(|state| matches!(state, Place::Delayed { .. })),
            model.deaths.len(),
        ];
        prop_assert_eq!(observer.counts(), depth.map(|count| count as u64));
        let dead: Vec<_> = model
            .deaths
            .iter()
            .map(|&id| match model.messages[id] {
                Modelled { state: Place::Dead(reason), attempts } => (MessageId(id as u64), reason, attempts),
                ref other => panic!("the model buried {other:?}"),
            })
            .collect();
        prop_assert_eq!(observer.dead(), dead);
    }
    Ok(())
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, cases: 1_000, ..Config::default() })]

    #[test]
    fn agrees_with_the_model_over_the_ring(capacity in 1..6_usize, allowed in 1..4_u32, ops in ops()) {
        agrees_with_model::<Ring>(capacity, allowed, &ops)?;
    }

    #[test]
    fn agrees_with_the_model_over_an_unbounded_queue(capacity in 1..6_usize, allowed in 1..4_u32, ops in ops()) {
        agrees_with_model::<SegQueue>(capacity, allowed, &ops)?;
    }

    #[test]
    fn agrees_with_the_model_over_the_yardstick(capacity in 1..6_usize, allowed in 1..4_u32, ops in ops()) {
        agrees_with_model::<MutexDeque>(capacity, allowed, &ops)?;
    }
}

#[test]
fn the_model_notices_a_buffer_that_refuses_without_need() {
    let send = Op::Send { delay: 0 };
    assert!(agrees_with_model::<Moody>(4, 1, &[send.clone(), send]).is_err());
}
