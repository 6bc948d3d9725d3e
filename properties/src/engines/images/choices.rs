//! What a power failure may leave, of so much that was at risk.

use stanchion_queues::file::survival::{AtRisk, SectorFate, Survival};

use crate::dice::Dice;

/// Up to so many sectors, every subset is gone through.
const ALL_SUBSETS: usize = 10;
/// And of so many changes of the directory.
const ALL_NAMES: usize = 4;
/// Above that, so many drawn ones beside the regular ones.
const DRAWN: usize = 256;
/// Of so many sectors, each is damaged in turn.
const DAMAGED: usize = 16;
/// How long a sector is at least.
const SECTOR: usize = 512;

/// Everything that may be left, or a fair choice of `most` if that is more.
pub(super) fn survivals(risk: AtRisk, most: usize, dice: &mut Dice) -> Vec<Survival> {
    let mut patterns = subsets(risk.sectors, dice);
    patterns.extend(damaged(risk.sectors, risk.block, dice));
    let mut all = Vec::new();
    for sectors in patterns {
        for lens in 0..=risk.lens {
            for names in names(risk.names) {
                all.push(Survival { sectors: sectors.clone(), lens, names });
            }
        }
    }
    for kept in 0..most.min(all.len()) {
        let other = kept + dice.below((all.len() - kept) as u64) as usize;
        all.swap(kept, other);
    }
    all.truncate(most);
    all
}

/// What is left of an unknown number of changes.
pub(super) fn drawn(dice: &mut Dice) -> Survival {
    let style = dice.below(4);
    let prefix = dice.below(6) as usize;
    let mut sectors: Vec<SectorFate> = (0..256)
        .map(|nth| match style {
            0 => SectorFate::Lost,
            1 => SectorFate::Whole,
            2 => whole(nth < prefix),
            _ => whole(dice.one_in(2)),
        })
        .collect();
    if dice.one_in(4) {
        sectors[dice.below(6) as usize] = damage(SECTOR, dice);
    }
    Survival { sectors, lens: dice.below(4) as usize, names: dice.below(8) }
}

/// Every subset of so many changes of the directory; of many, the regular ones.
fn names(n: usize) -> Vec<u64> {
    let n = n.min(63);
    if n <= ALL_NAMES {
        return (0..1 << n).collect();
    }
    let all = (1 << n) - 1;
    let single = (0..n).map(|nth| 1 << nth);
    let prefixes = (0..=n).map(|many| (1 << many) - 1);
    prefixes.chain(single.clone()).chain(single.map(|one| all - one)).collect()
}

fn whole(is: bool) -> SectorFate {
    if is { SectorFate::Whole } else { SectorFate::Lost }
}

fn damage(block: usize, dice: &mut Dice) -> SectorFate {
    match dice.below(3) {
        // Within the header of whatever begins here, or anywhere.
        0 => SectorFate::Torn(1 + dice.below(40) as usize),
        1 => SectorFate::Torn(1 + dice.below(block as u64 - 1) as usize),
        _ => SectorFate::Garbage(dice.next()),
    }
}

fn subsets(n: usize, dice: &mut Dice) -> Vec<Vec<SectorFate>> {
    let of = |kept: &mut dyn FnMut(usize) -> bool| (0..n).map(|nth| whole(kept(nth))).collect();
    if n <= ALL_SUBSETS {
        return (0..1usize << n).map(|mask| of(&mut |nth| mask >> nth & 1 == 1)).collect();
    }
    let mut all: Vec<Vec<SectorFate>> = (0..=n).map(|end| of(&mut |nth| nth < end)).collect();
    all.extend((0..n).map(|missing| of(&mut |nth| nth != missing)));
    all.extend((0..n).map(|present| of(&mut |nth| nth == present)));
    all.extend((0..DRAWN).map(|_| of(&mut |_| dice.one_in(2))));
    all
}

/// One damaged sector, the others all there, or only those before it.
fn damaged(n: usize, block: usize, dice: &mut Dice) -> Vec<Vec<SectorFate>> {
    let mut all = Vec::new();
    for turn in 0..n.min(DAMAGED) {
        let nth = if n <= DAMAGED { turn } else { dice.below(n as u64) as usize };
        for torn in [
            SectorFate::Torn(1 + dice.below(40) as usize),
            damage(block, dice),
            SectorFate::Garbage(dice.next()),
        ] {
            for others in [n, nth] {
                let mut sectors: Vec<SectorFate> = (0..n).map(|other| whole(other < others)).collect();
                sectors[nth] = torn;
                all.push(sectors);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_sectors_survive_in_every_subset_and_each_is_damaged() {
        let risk = AtRisk { sectors: 3, block: 4096, lens: 1, names: 2 };
        let all = survivals(risk, usize::MAX, &mut Dice::new(1));
        assert_eq!(all.len(), (8 + 3 * 3 * 2) * 2 * 4);
        let undamaged = |survival: &&Survival| {
            survival.sectors.iter().all(|fate| matches!(fate, SectorFate::Lost | SectorFate::Whole))
        };
        assert_eq!(all.iter().filter(undamaged).count(), 8 * 8);
        assert_eq!(names(6).len(), 7 + 6 + 6);
        assert_eq!(survivals(risk, 7, &mut Dice::new(1)).len(), 7);
    }

    #[test]
    fn of_many_sectors_each_is_the_only_one_missing_and_the_only_one_there() {
        let all = subsets(12, &mut Dice::new(1));
        assert_eq!(all.len(), 13 + 12 + 12 + 256);
        let whole =
            |sectors: &Vec<SectorFate>| sectors.iter().filter(|fate| **fate == SectorFate::Whole).count();
        assert!(all.iter().filter(|sectors| whole(sectors) == 1).count() >= 13);
        assert!(all.iter().filter(|sectors| whole(sectors) == 11).count() >= 13);
    }
}
