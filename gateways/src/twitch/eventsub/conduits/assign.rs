//! Who is to hold which shard: a pure function of who holds which, and of who is there.

use std::collections::BTreeMap;

use uuid::Uuid;

/// A shard, as far as it matters here.
#[derive(Clone, Debug, PartialEq)]
pub struct Shard {
    pub number: i32,
    pub holder: Option<Uuid>,
    /// Twitch tells its holder's session.
    pub settled: bool,
}

/// How somebody is who holds a shard and gets no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They listen until somebody else has it.
    Leaving,
    Gone,
    /// It cannot be said yet.
    Unknown,
}

/// Whom a shard goes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub number: i32,
    pub from: Option<Uuid>,
    /// Nobody, where nobody is there.
    pub to: Option<Uuid>,
    /// Whoever had it is gone, and with them what they had not stored.
    pub is_lost: bool,
}

/// What is to change so that everybody in `here` holds as many as any other, or one more. What is held by somebody who is
/// gone changes at once, and what somebody holds who is leaving too; of the rest one at a time, once all is well.
pub fn steps(shards: &[Shard], here: &[Uuid], fate: impl Fn(Uuid) -> Fate) -> Vec<Step> {
    let mut loads: BTreeMap<Uuid, usize> = here.iter().map(|holder| (*holder, 0)).collect();
    for holder in shards.iter().filter_map(|shard| shard.holder) {
        loads.entry(holder).and_modify(|load| *load += 1);
    }
    let least = |loads: &BTreeMap<Uuid, usize>| {
        loads.iter().min_by_key(|(_, load)| **load).map(|(holder, _)| *holder)
    };
    let mut steps = Vec::new();
    for shard in shards {
        let is_lost = match shard.holder {
            None => false,
            Some(holder) if loads.contains_key(&holder) => continue,
            Some(holder) => match fate(holder) {
                Fate::Leaving => false,
                Fate::Gone => true,
                Fate::Unknown => continue,
            },
        };
        let to = least(&loads);
        if to.is_none() && !is_lost {
            continue;
        }
        if let Some(load) = to.and_then(|to| loads.get_mut(&to)) {
            *load += 1;
        }
        steps.push(Step { number: shard.number, from: shard.holder, to, is_lost });
    }
    if steps.is_empty() && shards.iter().all(|shard| shard.settled) {
        steps.extend(evened(shards, &loads));
    }
    steps
}

/// One that goes from whoever holds the most to whoever holds the fewest, where that makes it more even.
fn evened(shards: &[Shard], loads: &BTreeMap<Uuid, usize>) -> Option<Step> {
    let (most, many) = loads.iter().max_by_key(|(_, load)| **load)?;
    let (fewest, few) = loads.iter().min_by_key(|(_, load)| **load)?;
    if *many < few + 2 {
        return None;
    }
    let shard = shards.iter().rev().find(|shard| shard.holder == Some(*most))?;
    Some(Step { number: shard.number, from: Some(*most), to: Some(*fewest), is_lost: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn shards(holders: &[Option<u128>]) -> Vec<Shard> {
        let shard = |(n, holder): (usize, &Option<u128>)| Shard {
            number: n as i32,
            holder: holder.map(id),
            settled: holder.is_some(),
        };
        holders.iter().enumerate().map(shard).collect()
    }

    /// Whom each shard goes to, by number.
    fn moves(holders: &[Option<u128>], here: &[u128], gone: &[u128]) -> Vec<(i32, u128, bool)> {
        let here: Vec<Uuid> = here.iter().map(|n| id(*n)).collect();
        let fate = |holder| match gone.iter().any(|n| id(*n) == holder) {
            true => Fate::Gone,
            false => Fate::Leaving,
        };
        let steps = steps(&shards(holders), &here, fate).into_iter();
        steps.map(|s| (s.number, s.to.map_or(0, |to| to.as_u128()), s.is_lost)).collect()
    }

    #[test]
    fn everybody_who_is_there_holds_a_shard_and_one_alone_holds_all() {
        let fresh = |here: &[u128]| moves(&[None, None], here, &[]);
        assert_eq!(fresh(&[1, 2]), [(0, 1, false), (1, 2, false)]);
        assert_eq!(fresh(&[7]), [(0, 7, false), (1, 7, false)]);
        assert_eq!(fresh(&[]), []);
        assert_eq!(moves(&[Some(1), Some(2)], &[1, 2, 3], &[]), [], "it is even");
    }

    #[test]
    fn what_somebody_held_who_is_gone_is_lost_and_what_somebody_holds_who_leaves_is_not() {
        let held = [Some(1), Some(2)];
        assert_eq!(moves(&held, &[2], &[1]), [(0, 2, true)]);
        assert_eq!(moves(&held, &[], &[1]), [(0, 0, true)], "nobody has it now");
        assert_eq!(moves(&held, &[2], &[]), [(0, 2, false)], "1 leaves");
        assert_eq!(moves(&held, &[], &[]), [], "1 and 2 leave, and nobody follows");
        assert_eq!(steps(&shards(&held), &[id(2)], |_| Fate::Unknown), [], "1 is not judged");
    }

    #[test]
    fn a_newcomer_gets_one_of_whoever_has_two_once_all_is_well() {
        assert_eq!(moves(&[Some(1), Some(1)], &[1, 2], &[]), [(1, 2, false)]);
        assert_eq!(moves(&[Some(1), Some(1), Some(2)], &[1, 2], &[]), []);
        let mut moving = shards(&[Some(1), Some(1)]);
        moving[0].settled = false;
        assert_eq!(steps(&moving, &[id(1), id(2)], |_| Fate::Gone), []);
        let four = moves(&[Some(1), Some(1), Some(1), Some(1)], &[1, 2], &[]);
        assert_eq!(four, [(3, 2, false)], "one at a time");
    }
}
