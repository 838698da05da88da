//! Weights of servers that give each side exactly its part.

use envctl_model::cutover::Side;

/// The largest weight that HAProxy's manual, section 5.2, allows a server.
const LARGEST: usize = 256;

/// A side gets a part of the requests, and has no server to take them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {side} side is to get {percent} % of the requests and has no server: give it addresses first")]
pub struct NoServer {
    /// Which side.
    pub side: Side,
    /// Its part.
    pub percent: u8,
}

/// The weights of so many old and new servers, so that the new ones together get so many percent.
///
/// The sums of both sides are always exactly in that proportion, so each side's part is exact over every turn of
/// HAProxy's round robin; in the first one after a change each server may get one request more or less. Where no such
/// weights are alike within a side, they differ by one.
///
/// # Errors
/// When a side without a server is to get something.
///
/// # Panics
/// When `percent` is more than 100.
pub fn weights(percent: u8, old: usize, new: usize) -> Result<[Vec<u16>; 2], NoServer> {
    assert!(percent <= 100, "{percent} %");
    for (side, count, percent) in [(Side::Old, old, 100 - percent), (Side::New, new, percent)] {
        if count == 0 && percent > 0 {
            return Err(NoServer { side, percent });
        }
    }
    let (for_old, for_new) = (usize::from(100 - percent), usize::from(percent));
    let common = gcd(for_old, for_new);
    let sums = |times: usize| [for_old / common * times, for_new / common * times];
    let fits = |times: &usize| {
        let [of_old, of_new] = sums(*times);
        of_old <= LARGEST * old && of_new <= LARGEST * new
    };
    let alike = |times: &usize| {
        let [of_old, of_new] = sums(*times);
        of_old.is_multiple_of(old.max(1)) && of_new.is_multiple_of(new.max(1))
    };
    // The smallest that suits: the sooner a turn is over, the fewer requests show the exact part.
    let possible = || (1..).take_while(fits);
    let times = possible().find(alike).or_else(|| possible().last()).unwrap_or(1);
    let [of_old, of_new] = sums(times);
    Ok([spread(of_old, old), spread(of_new, new)])
}

fn spread(sum: usize, count: usize) -> Vec<u16> {
    let one = |index| sum / count + usize::from(index < sum % count);
    (0..count).map(|index| u16::try_from(one(index)).unwrap_or(u16::MAX)).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The new side's part in percent, rounded; none if no server gets anything.
pub(super) fn percent(old: u64, new: u64) -> Option<u8> {
    let sum = old + new;
    (sum > 0).then(|| u8::try_from((new * 100 + sum / 2) / sum).unwrap_or(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_gets_exactly_its_part_whatever_the_number_of_servers() {
        for of_new in 0..=100 {
            for (old, new) in [(1, 1), (2, 2), (2, 3), (3, 2), (1, 8), (7, 5)] {
                let [of_old, weights_new] = weights(of_new, old, new).unwrap();
                assert_eq!((of_old.len(), weights_new.len()), (old, new));
                let sum = |weights: &[u16]| weights.iter().map(|weight| u64::from(*weight)).sum::<u64>();
                let (sum_old, sum_new) = (sum(&of_old), sum(&weights_new));
                assert_eq!(
                    sum_new * u64::from(100 - of_new),
                    sum_old * u64::from(of_new),
                    "{of_new} {old} {new}"
                );
                assert_eq!(percent(sum_old, sum_new), Some(of_new));
                for side in [of_old, weights_new] {
                    let (least, most) = (side.iter().min().unwrap(), side.iter().max().unwrap());
                    assert!(most - least <= 1 && *most <= 256, "{side:?}");
                }
            }
        }
    }

    #[test]
    fn a_turn_is_as_short_as_can_be() {
        assert_eq!(weights(50, 2, 2).unwrap(), [vec![1, 1], vec![1, 1]]);
        assert_eq!(weights(5, 2, 2).unwrap(), [vec![19, 19], vec![1, 1]]);
        assert_eq!(weights(0, 2, 0).unwrap(), [vec![1, 1], vec![]]);
    }

    #[test]
    fn a_side_without_a_server_gets_nothing() {
        assert_eq!(weights(5, 2, 0), Err(NoServer { side: Side::New, percent: 5 }));
        assert_eq!(weights(60, 0, 1), Err(NoServer { side: Side::Old, percent: 40 }));
    }
}
