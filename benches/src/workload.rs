//! What a trial asks of a buffer: who pushes and pops, what is moved, how many at once, how much fits, and
//! what a worker does while it cannot go on.

use stanchion_queues::{BufferContract, Shape};

use crate::crew::core_count;

/// Who pushes and who pops, in crossbeam's vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One thread fills the buffer and drains it, again and again.
    Seq,
    /// One thread pushes, one pops.
    Spsc,
    /// Many push, one pops.
    Mpsc,
    /// One pushes, many pop.
    Spmc,
    /// Many push, as many pop.
    Mpmc,
    /// Each of many threads pushes and pops in turn, all on one buffer.
    Pairs,
    /// Two threads and two buffers: an item goes there and back before the next one goes.
    PingPong,
}

impl Topology {
    /// All of them, from the fewest threads to the most.
    pub const ALL: [Topology; 7] = [
        Topology::Seq,
        Topology::Spsc,
        Topology::PingPong,
        Topology::Pairs,
        Topology::Mpsc,
        Topology::Spmc,
        Topology::Mpmc,
    ];

    /// Its name in ids.
    pub fn name(self) -> &'static str {
        match self {
            Topology::Seq => "seq",
            Topology::Spsc => "spsc",
            Topology::Mpsc => "mpsc",
            Topology::Spmc => "spmc",
            Topology::Mpmc => "mpmc",
            Topology::Pairs => "pairs",
            Topology::PingPong => "ping_pong",
        }
    }
}

/// What a worker does at a full or an empty buffer. Buffers do not wait, so this is the driver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It spins for as long as it takes: the quickest answer, as long as every thread has a core.
    Spin,
    /// It spins briefly, then yields its core to whoever wants it.
    Yield,
    /// It spins briefly (where every thread has a core), yields a few times, then sleeps until the other side
    /// wakes it. Channels that wait by themselves are compared here, through their own waiting.
    Park,
}

impl Wait {
    /// All of them, from the most eager to the most patient.
    pub const ALL: [Wait; 3] = [Wait::Spin, Wait::Yield, Wait::Park];

    /// Its name in ids.
    pub fn name(self) -> &'static str {
        match self {
            Wait::Spin => "spin",
            Wait::Yield => "yield",
            Wait::Park => "park",
        }
    }
}

/// What is moved. Three sizes: a pointer, a cache line, and several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemSize {
    /// 8 bytes.
    Word,
    /// 64 bytes.
    Line,
    /// 256 bytes.
    Lines,
}

impl ItemSize {
    /// All of them, smallest first.
    pub const ALL: [ItemSize; 3] = [ItemSize::Word, ItemSize::Line, ItemSize::Lines];

    /// How many bytes one item has.
    pub fn bytes(self) -> usize {
        match self {
            ItemSize::Word => size_of::<Item<1>>(),
            ItemSize::Line => size_of::<Item<8>>(),
            ItemSize::Lines => size_of::<Item<32>>(),
        }
    }
}

/// What a trial asks of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Who pushes and who pops.
    pub topology: Topology,
    /// How many threads "many" are.
    pub many: usize,
    /// What is moved.
    pub item: ItemSize,
    /// How many items fit at once.
    pub capacity: usize,
    /// How many items go into one call; 1: through the calls for single items.
    pub batch: usize,
    /// What a worker does while it cannot go on.
    pub wait: Wait,
}

impl Workload {
    /// Single items, waiting by yielding, with the default capacity of 1024, and as many threads on each side
    /// as half of the cores (at least two).
    pub fn new(topology: Topology, item: ItemSize) -> Workload {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Workload { topology, many: (cores / 2).max(2), item, capacity: 1024, batch: 1, wait: Wait::Yield }
    }

    /// How many producers and consumers it has.
    pub fn ends(&self) -> (usize, usize) {
        match self.topology {
            Topology::Seq | Topology::Spsc | Topology::PingPong => (1, 1),
            Topology::Mpsc => (self.many, 1),
            Topology::Spmc => (1, self.many),
            Topology::Mpmc | Topology::Pairs => (self.many, self.many),
        }
    }

    /// How many threads it takes.
    pub fn threads(&self) -> usize {
        let (producers, consumers) = self.ends();
        match self.topology {
            Topology::Seq => 1,
            Topology::Pairs => producers,
            _ => producers + consumers,
        }
    }

    /// Whether it asks a question that no other workload asks: nobody waits where each thread both pushes and
    /// pops, there is no batch where one item travels, and threads that share a core must not spin for it.
    pub fn is_sensible(&self) -> bool {
        let waits = !matches!(self.topology, Topology::Seq | Topology::Pairs);
        let spins = self.threads() <= core_count();
        (waits || self.wait == Wait::Yield)
            && (self.wait != Wait::Spin || spins)
            && (self.topology != Topology::PingPong || self.batch == 1)
    }

    /// How a buffer is opened for it.
    pub fn shape(&self) -> Shape {
        let (producers, consumers) = self.ends();
        Shape::new(producers, consumers, self.capacity)
    }

    /// Whether a buffer with this contract can take part.
    pub fn admitted_by(&self, contract: &BufferContract) -> bool {
        self.shape().admitted_by(contract).is_ok()
    }
}

/// The part of `total` that worker `index` of `workers` does: all parts add up to the total, and differ by at
/// most one.
pub(crate) fn quota(total: u64, workers: usize, index: usize) -> u64 {
    let (workers, index) = (workers as u64, index as u64);
    total / workers + u64::from(index < total % workers)
}

/// An item of `WORDS` times 8 bytes that says who it is: the producer and its sequence number in the first
/// word, filler drawn from both in the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Item<const WORDS: usize>([u64; WORDS]);

/// Who an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The producer's index.
    pub producer: usize,
    /// Its ordinal among that producer's items, from 0.
    pub sequence: u64,
}

const SEQUENCE_BITS: u32 = 48;

/// Odd, so that the filler of two words never agrees (the golden ratio of Fibonacci hashing).
const FILLER: u64 = 0x9e37_79b9_7f4a_7c15;

impl<const WORDS: usize> Item<WORDS> {
    /// The item with this identity.
    #[inline]
    pub fn new(identity: Identity) -> Item<WORDS> {
        let token = identity.token();
        Item(std::array::from_fn(|word| token ^ FILLER.wrapping_mul(word as u64)))
    }

    /// Who it is; `None` if its words do not belong together.
    #[inline]
    pub fn identity(&self) -> Option<Identity> {
        let token = *self.0.first()?;
        (self.differs(token) == 0).then_some(Identity {
            producer: (token >> SEQUENCE_BITS) as usize,
            sequence: token & ((1 << SEQUENCE_BITS) - 1),
        })
    }

    /// Zero if all its words are those of this token. Differences are gathered, not branched on: that is the
    /// form which vectorises.
    #[inline]
    fn differs(&self, token: u64) -> u64 {
        (0..WORDS).fold(0, |torn, word| torn | (self.0[word] ^ token ^ FILLER.wrapping_mul(word as u64)))
    }

    /// How many items from the front on are `first`, the one after it, and so on.
    #[inline]
    pub(crate) fn run(items: &[Item<WORDS>], first: Identity) -> usize {
        /// So many are compared before the next branch.
        const BLOCK: usize = 8;
        let first = first.token();
        let differ = |items: &[Item<WORDS>], token: u64| {
            items.iter().zip(token..).fold(0, |all, (item, token)| all | item.differs(token))
        };
        let mut run = 0;
        while let Some(block) = items.get(run..run + BLOCK)
            && differ(block, first + run as u64) == 0
        {
            run += BLOCK;
        }
        while let Some(item) = items.get(run)
            && item.differs(first + run as u64) == 0
        {
            run += 1;
        }
        run
    }
}

impl Identity {
    #[inline]
    fn token(self) -> u64 {
        (self.producer as u64) << SEQUENCE_BITS | self.sequence
    }
}

#[cfg(test)]
impl Item<8> {
    /// Changes a word without telling the others.
    pub(crate) fn damage(&mut self) {
        // Not its own inverse: what goes through two damaged queues must not come out whole.
        self.0[5] = self.0[5].wrapping_add(1 << 33);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_says_who_it_is_unless_it_is_torn() {
        let identity = Identity { producer: 3, sequence: 1 << 40 };
        assert_eq!(Item::<1>::new(identity).identity(), Some(identity));
        let whole = Item::<32>::new(identity);
        assert_eq!(whole.identity(), Some(identity));
        for word in 1..32 {
            let mut torn = whole;
            torn.0[word] ^= 1;
            assert_eq!(torn.identity(), None, "word {word}");
        }
        let mut mixed = whole;
        mixed.0[16..].copy_from_slice(&Item::<32>::new(Identity { producer: 3, sequence: 7 }).0[16..]);
        assert_eq!(mixed.identity(), None);
    }

    #[test]
    fn a_run_ends_where_the_next_item_is_another_one() {
        let item = |sequence| Item::<8>::new(Identity { producer: 1, sequence });
        let first = Identity { producer: 1, sequence: 100 };
        for length in [1, 7, 8, 9, 40] {
            let whole: Vec<_> = (100..100 + length).map(item).collect();
            assert_eq!(Item::run(&whole, first), whole.len());
            for at in 0..whole.len() {
                let mut other = whole.clone();
                other[at].damage();
                assert_eq!(Item::run(&other, first), at);
                other[at] = item(7);
                assert_eq!(Item::run(&other, first), at);
            }
        }
        assert_eq!(Item::<8>::run(&[], first), 0);
    }

    #[test]
    fn sizes_are_what_they_are_called() {
        assert_eq!(ItemSize::ALL.map(ItemSize::bytes), [8, 64, 256]);
    }

    #[test]
    fn quotas_add_up() {
        for (total, workers) in [(0, 1), (1, 3), (10, 3), (12, 4)] {
            let parts: Vec<u64> = (0..workers).map(|index| quota(total, workers, index)).collect();
            assert_eq!(parts.iter().sum::<u64>(), total);
            assert!(parts[0] - parts[workers - 1] <= 1);
        }
    }

    #[test]
    fn a_shape_takes_part_only_where_the_contract_admits_it() {
        use stanchion_queues::Sides;
        let ring = BufferContract { producers: Sides::One, consumers: Sides::One, ..BufferContract::FIFO };
        let admitted = |contract| {
            Topology::ALL.map(|topology| Workload::new(topology, ItemSize::Word).admitted_by(contract))
        };
        assert_eq!(admitted(&ring), [true, true, true, false, false, false, false]);
        assert_eq!(admitted(&BufferContract::FIFO), [true; 7]);
    }
}
