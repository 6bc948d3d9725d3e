//! Merges sorted lists by a tree of winners: a look at a few heads a level for each element, no sort. And reads
//! running maxima and minima of what was merged.

use super::{NEVER, Tick};

/// How many compare at once: looking at four is as fast as looking at two.
const FAN: usize = 4;

/// The heads of some sorted lists. Of equal keys the list with the lower number comes first.
pub(super) struct Merge<K> {
    /// The winner, then by level the winners of four each, and from `leaves` on the heads.
    nodes: Vec<(K, u32)>,
    leaves: usize,
    ended: K,
}

impl<K: Copy + Ord> Merge<K> {
    /// Starts from the first key of each list; `ended` is above every key and stands for a list that has
    /// ended.
    pub(super) fn new(heads: impl IntoIterator<Item = K>, ended: K) -> Merge<K> {
        let heads: Vec<K> = heads.into_iter().collect();
        let (mut leaves, mut width) = (1, FAN);
        while width < heads.len() {
            leaves += width;
            width *= FAN;
        }
        let mut nodes = vec![(ended, u32::MAX); leaves + width];
        for (list, key) in heads.into_iter().enumerate() {
            nodes[leaves + list] = (key, list as u32);
        }
        let mut merge = Merge { nodes, leaves, ended };
        for at in (0..leaves).rev() {
            merge.decide(at);
        }
        merge
    }

    /// The smallest key and its list; `None`: all have ended.
    #[inline]
    pub(super) fn first(&self) -> Option<(K, usize)> {
        let (key, list) = self.nodes[0];
        (key != self.ended).then_some((key, list as usize))
    }

    /// The winner of the four below.
    #[inline]
    fn decide(&mut self, at: usize) {
        let below = &self.nodes[FAN * at + 1..][..FAN];
        let mut winner = below[0];
        for other in &below[1..] {
            // The others come after it.
            if other.0 < winner.0 {
                winner = *other;
            }
        }
        self.nodes[at] = winner;
    }

    /// Puts the next key of `list` in the place of its head.
    #[inline]
    pub(super) fn replace(&mut self, list: usize, key: K) {
        let mut at = self.leaves + list;
        self.nodes[at].0 = key;
        while at > 0 {
            at = (at - 1) / FAN;
            self.decide(at);
        }
    }
}

/// Hands on the elements of all lists in order of their keys, and says whether each list was sorted.
pub(super) fn merge<K: Copy + Ord, T, I: Iterator<Item = (K, T)>>(
    lists: impl Iterator<Item = I>,
    ended: K,
    mut emit: impl FnMut(K, T),
) -> bool {
    let mut lists: Vec<I> = lists.collect();
    let mut heads: Vec<Option<(K, T)>> = lists.iter_mut().map(Iterator::next).collect();
    let key = |head: &Option<(K, T)>| head.as_ref().map_or(ended, |(key, _)| *key);
    let mut tree = Merge::new(heads.iter().map(key), ended);
    let mut sorted = true;
    while let Some((least, list)) = tree.first() {
        let next = lists[list].next();
        let next_key = key(&next);
        sorted &= least <= next_key;
        tree.replace(list, next_key);
        if let Some((key, value)) = std::mem::replace(&mut heads[list], next) {
            emit(key, value);
        }
    }
    sorted
}

/// The elements of all lists by their keys. A list that is not sorted costs a sort.
fn merged<I: Iterator<Item = (Tick, Tick)>>(
    lists: impl Iterator<Item = I>,
    size: usize,
) -> Vec<(Tick, Tick)> {
    let mut all = Vec::with_capacity(size);
    if !merge(lists, NEVER, |key, value| all.push((key, value))) {
        all.sort_by_key(|(key, _)| *key);
    }
    all
}

/// The greatest value before an instant.
pub(super) struct Greatest(Vec<(Tick, Tick)>);

impl Greatest {
    /// Of at most `size` values, each from its instant on.
    pub(super) fn new<I: Iterator<Item = (Tick, Tick)>>(
        lists: impl Iterator<Item = I>,
        size: usize,
    ) -> Greatest {
        let mut steps = merged(lists, size);
        let mut greatest = 0;
        for (_, value) in &mut steps {
            greatest = greatest.max(*value);
            *value = greatest;
        }
        Greatest(steps)
    }

    /// Reads it at instants that mostly rise: the greatest value strictly before each, else 0.
    pub(super) fn walk(&self) -> impl FnMut(Tick) -> Tick {
        let mut position = position(&self.0, |key, t| key < t);
        move |t| position(t).checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

/// The least value after an instant.
pub(super) struct Least {
    steps: Vec<(Tick, Tick)>,
    /// The least at the end of time.
    last: Tick,
}

impl Least {
    /// Of at most `size` values, each until its instant; and of `last`, for ever.
    pub(super) fn new<I: Iterator<Item = (Tick, Tick)>>(
        lists: impl Iterator<Item = I>,
        size: usize,
        last: Tick,
    ) -> Least {
        let mut steps = merged(lists, size);
        let mut least = last;
        for (_, value) in steps.iter_mut().rev() {
            least = least.min(*value);
            *value = least;
        }
        Least { steps, last }
    }

    /// Reads it at instants that mostly rise: the least value strictly after each.
    pub(super) fn walk(&self) -> impl FnMut(Tick) -> Tick {
        let mut position = position(&self.steps, |key, t| key <= t);
        move |t| self.steps.get(position(t)).map_or(self.last, |(_, value)| *value)
    }
}

/// How many keys come before an instant.
fn position(steps: &[(Tick, Tick)], before: impl Fn(Tick, Tick) -> bool) -> impl FnMut(Tick) -> usize {
    let (mut count, mut last) = (0, 0);
    move |t| {
        if t < last {
            count = steps.partition_point(|(key, _)| before(*key, t));
        }
        last = t;
        while count < steps.len() && before(steps[count].0, t) {
            count += 1;
        }
        count
    }
}
