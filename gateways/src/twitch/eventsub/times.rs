//! When what is tried again, and when all is looked at again.

use std::time::Duration;

use rand::Rng;

const AGAIN_MIN: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(60);
const SYNC_EVERY: Duration = Duration::from_secs(3_600);
const SPLAY: Duration = Duration::from_secs(15 * 60);

/// How long to wait before something is tried again that failed `failed` times in a row.
pub fn again_after(failed: u32) -> Duration {
    again(failed, rand::rng().random_range(0.0..=1.0))
}

/// How long until the next look at all subscriptions: an hour, and by chance up to a quarter more.
pub fn sync_after() -> Duration {
    sync(rand::rng().random_range(0.0..=1.0))
}

/// It doubles up to a minute, and half of it is `chance`: many who lost the same server do not come back together.
fn again(failed: u32, chance: f64) -> Duration {
    let doubled = AGAIN_MIN.saturating_mul(1 << failed.saturating_sub(1).min(10));
    doubled.min(AGAIN_MAX).mul_f64(0.5 + chance / 2.0)
}

fn sync(chance: f64) -> Duration {
    SYNC_EVERY + SPLAY.mul_f64(chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_for_ever_and_never_more_seldom_than_each_minute() {
        assert_eq!(again(1, 1.0), Duration::from_millis(500));
        assert_eq!(again(1, 0.0), Duration::from_millis(250));
        assert_eq!(again(4, 1.0), Duration::from_secs(4));
        for failed in [8, 100, u32::MAX] {
            assert_eq!(again(failed, 1.0), AGAIN_MAX);
        }
    }

    #[test]
    fn all_is_looked_at_hourly_and_not_by_all_at_once() {
        assert_eq!(sync(0.0), Duration::from_secs(3_600));
        assert_eq!(sync(1.0), Duration::from_secs(4_500));
        assert!((0..100).all(|_| (sync(0.0)..=sync(1.0)).contains(&sync_after())));
    }
}
