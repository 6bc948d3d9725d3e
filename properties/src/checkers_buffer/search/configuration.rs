//! One way in which everything so far may have happened, and which ways need not be followed beside another.
//!
//! A way does not say in which order the values inside went in, only when something did: there is one place for
//! each push, and some arrangement puts each value into a place that was taken within the window of its push. Which
//! one is first is settled when it comes out. So ways that differ in nothing but an order that is still open are
//! one.

use super::super::Tick;
use super::{Bits, Search, What};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Configuration {
    /// Open operations that took effect.
    pub(super) done: u128,
    pub(super) popped: usize,
    /// Values that pops took which never returned.
    pub(super) taken: Vec<u32>,
    /// When each place was taken, after those on which all agree.
    pub(super) pushed: Vec<Tick>,
}

impl Search<'_> {
    pub(super) fn len(&self, one: &Configuration) -> usize {
        self.base() + one.pushed.len() - one.popped
    }

    /// From which place on configurations have their own.
    pub(super) fn base(&self) -> usize {
        self.forgotten + self.agreed.len()
    }

    /// When a place was taken that is not forgotten.
    fn time(&self, one: &Configuration, place: usize) -> Tick {
        let at = place - self.forgotten;
        self.agreed.get(at).copied().unwrap_or_else(|| one.pushed[at - self.agreed.len()])
    }

    fn is_out(&self, one: &Configuration, v: usize) -> bool {
        self.out[v / 64] >> (v % 64) & 1 == 1
            || one.taken.contains(&(v as u32))
            || Bits(self.pops & one.done).any(|at| self.what[at] == What::Pop(v))
    }

    /// Everything inside, by the returns of the pushes.
    pub(super) fn inside<'s>(&'s self, one: &'s Configuration) -> impl Iterator<Item = usize> + 's {
        let returned = self.sorted.by_er[self.first..self.returned].iter().map(|v| *v as usize);
        let open = self.pushing.iter().filter(|(_, at)| one.done >> at & 1 == 1).map(|(v, _)| *v);
        returned.chain(open).filter(|v| !self.is_out(one, *v))
    }

    /// Whether something is inside.
    fn holds(&self, one: &Configuration, v: usize) -> bool {
        let open = self.pushing.iter().find(|(open, _)| *open == v);
        open.is_none_or(|(_, at)| one.done >> at & 1 == 1) && !self.is_out(one, v)
    }

    pub(super) fn fits_first(&self, one: &Configuration, v: usize) -> bool {
        self.fits(v, self.time(one, one.popped))
    }

    fn fits(&self, v: usize, taken: Tick) -> bool {
        self.tight.ei[v] <= taken && taken <= self.tight.er[v]
    }

    /// Whether a value can be first: it fits into the first place, and all others into the rest.
    ///
    /// Places are filled in turn by whatever has called and must return first. As soon as those in place are those
    /// that must return first of all, the others fit: as they did before, for whoever of them was in one of these
    /// places can be where one of those was.
    pub(super) fn may_lead(&self, one: &Configuration, v: usize) -> bool {
        if !self.fits_first(one, v) {
            return false;
        }
        let mut inside = self.inside(one);
        let mut seen: Vec<(usize, bool)> = Vec::new();
        for other in inside.by_ref() {
            seen.push((other, other == v));
            if other == v {
                break;
            }
        }
        if seen.last().is_none_or(|(last, _)| *last != v) {
            return false;
        }
        let (mut placed, mut settled) = (1, 0);
        loop {
            while seen.get(settled).is_some_and(|(_, placed)| *placed) {
                settled += 1;
            }
            if settled == placed {
                return true;
            }
            let taken = self.time(one, one.popped + placed);
            let mut at = settled;
            while seen.get(at).is_some_and(|(other, placed)| *placed || self.tight.ei[*other] > taken) {
                at += 1;
                if at == seen.len() {
                    seen.extend(inside.next().map(|other| (other, false)));
                }
            }
            let Some((next, is_placed)) = seen.get_mut(at) else { return false };
            if self.tight.er[*next] < taken {
                return false;
            }
            *is_placed = true;
            placed += 1;
        }
    }

    /// Whether another open push could take the place of this one: exchanging the two in any linearization
    /// leaves every state as it is and every operation within its window.
    pub(super) fn is_pushed_later(&self, before: &Configuration, at: usize, w: usize) -> bool {
        Bits(self.open & !before.done & !self.doubtful).any(|other| {
            let What::Push(u) = self.what[other] else { return false };
            let comparable = !self.any || (self.matched.came_out(u) && self.matched.came_out(w));
            other != at && comparable && self.tight.di[u] <= self.tight.di[w] && self.is_earlier(u, w)
        })
    }

    /// The same of open pops of what is inside.
    pub(super) fn is_popped_later(&self, before: &Configuration, w: usize) -> bool {
        Bits(self.pops & !before.done).any(|other| {
            let What::Pop(u) = self.what[other] else { return false };
            u != w && self.is_earlier(u, w) && self.fits_first(before, u) && self.holds(before, u)
        })
    }

    /// Whether no return of u comes after that of w; of two that are alike, one is the earlier.
    fn is_earlier(&self, u: usize, w: usize) -> bool {
        let of = |v: usize| (self.tight.er[v], self.tight.dr[v], self.tight.di[v], v);
        self.tight.er[u] <= self.tight.er[w] && self.tight.dr[u] <= self.tight.dr[w] && of(u) < of(w)
    }

    /// Whether all that can come after `b` can come after `a`: it has moved less and seen as many answers come
    /// true, and what could be in a place then can be there now.
    pub(super) fn covers(&self, a: &Configuration, b: &Configuration) -> bool {
        let answers = self.empties | self.fulls;
        // With that, it popped no more.
        let moved_less = a.done & !answers & !b.done == 0 && a.taken.iter().all(|v| b.taken.contains(v));
        if !moved_less || b.done & answers & !a.done != 0 {
            return false;
        }
        (a.popped.max(self.base())..self.base() + b.pushed.len()).all(|place| {
            let theirs = self.time(b, place);
            let ours = a.pushed.get(place - self.base());
            if ours == Some(&theirs) {
                return true;
            }
            // Which of those that are out was in this place is not known.
            if place < b.popped {
                return false;
            }
            let mut can = self.inside(b).filter(|v| self.fits(*v, theirs));
            can.all(|v| match ours {
                Some(ours) => self.fits(v, *ours),
                // It is taken later, after all that is inside.
                None => !self.holds(a, v),
            })
        })
    }
}
