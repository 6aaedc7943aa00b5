//! Simple tokens: 16 random letters, a dot, and the index of the entry that assigned them.
//!
//! Every member remembers them in memory, told by the apply thread. A token lives as long as it is
//! used: each use renews its time. All are gone after a restart.
//!
//! The table is bounded by [`TOKENS_MAX`]. When it is full, the tokens that were not used for the
//! longest time are forgotten, an eighth of the table at once: their owners are told "invalid auth
//! token", by which clients know to log in again. A new token is never refused.
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bramble_store::seams::{Clock, Entropy};

/// Tokens remembered at once: about 12 MiB of them.
const TOKENS_MAX: usize = 65_536;
/// Letters before the dot.
const LETTERS: usize = 16;

/// The tokens of this member.
pub struct SimpleTokens {
    clock: Arc<dyn Clock>,
    ttl: Duration,
    tokens_max: usize,
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    held: HashMap<Box<str>, Held>,
    /// When the dead were last taken out.
    swept_ms: u64,
}

struct Held {
    user: Arc<str>,
    /// Milliseconds on the clock. Atomic, so that a use needs no exclusive lock.
    used_ms: AtomicU64,
}

impl SimpleTokens {
    /// None yet; each will live for `ttl` after its last use.
    pub fn new(clock: Arc<dyn Clock>, ttl: Duration) -> SimpleTokens {
        SimpleTokens { clock, ttl, tokens_max: TOKENS_MAX, table: RwLock::default() }
    }

    /// Whose token it is, if it lives; this use renews it.
    pub fn user(&self, token: &str) -> Option<Arc<str>> {
        let now_ms = self.now_ms();
        let table = self.read();
        let found = table.held.get(token).filter(|found| !self.is_over(found, now_ms))?;
        found.used_ms.fetch_max(now_ms, Ordering::Relaxed);
        Some(found.user.clone())
    }

    /// Remembers a token. The dead are taken out on the way, now and then: only memory depends on it.
    pub fn assign(&self, token: &str, user: &str) {
        let now_ms = self.now_ms();
        let mut table = self.write();
        let since_ms = now_ms.saturating_sub(table.swept_ms);
        if table.held.len() >= self.tokens_max || u128::from(since_ms) >= self.ttl.as_millis() / 4 {
            table.swept_ms = now_ms;
            table.held.retain(|_, one| !self.is_over(one, now_ms));
            forget_unused(&mut table.held, self.tokens_max);
        }
        table.held.insert(token.into(), Held { user: user.into(), used_ms: now_ms.into() });
    }

    /// Forgets the tokens of a user.
    pub fn drop_user(&self, user: &str) {
        self.write().held.retain(|_, held| &*held.user != user);
    }

    /// Forgets all.
    pub fn drop_all(&self) {
        // Not `clear`: the room is given back, too.
        self.write().held = HashMap::new();
    }

    fn is_over(&self, held: &Held, now_ms: u64) -> bool {
        let idle_ms = now_ms.saturating_sub(held.used_ms.load(Ordering::Relaxed));
        u128::from(idle_ms) > self.ttl.as_millis()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.now().as_millis()).unwrap_or(u64::MAX)
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room for an eighth of the table by forgetting what was used least recently.
fn forget_unused(held: &mut HashMap<Box<str>, Held>, tokens_max: usize) {
    if held.len() < tokens_max {
        return;
    }
    let excess = held.len() - (tokens_max - tokens_max.div_ceil(8));
    let mut uses: Vec<u64> = held.values().map(|one| one.used_ms.load(Ordering::Relaxed)).collect();
    let (_, &mut last_ms, _) = uses.select_nth_unstable(excess - 1);
    let mut left = excess;
    held.retain(|_, one| {
        let goes = left > 0 && one.used_ms.load(Ordering::Relaxed) <= last_ms;
        left -= usize::from(goes);
        !goes
    });
    tracing::warn!(forgotten = excess, "too many auth tokens; the least recently used are forgotten");
}

/// The letters of a new token, drawn by the member that is asked; the index comes when it is applied.
pub fn letters(entropy: &dyn Entropy) -> String {
    const ALPHABET: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut drawn = String::with_capacity(LETTERS);
    while drawn.len() < LETTERS {
        let bytes = entropy.next_u64().to_le_bytes();
        // Bytes from 208 on would favour the first letters.
        let fair = bytes.iter().filter(|byte| **byte < 208);
        drawn.extend(fair.take(LETTERS - drawn.len()).map(|byte| ALPHABET[usize::from(byte % 52)] as char));
    }
    drawn
}

/// The index in a token; `None` when it is no simple token at all.
pub fn index(token: &str) -> Option<u64> {
    let (_, index) = token.split_once('.')?;
    // Go reads no sign here.
    index.bytes().all(|byte| byte.is_ascii_digit()).then(|| index.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Hand(Mutex<Duration>);

    impl Hand {
        fn turn(&self, by: Duration) {
            *self.0.lock().expect("not poisoned") += by;
        }
    }

    impl Clock for Hand {
        fn now(&self) -> Duration {
            *self.0.lock().expect("not poisoned")
        }
    }

    struct Counting(AtomicU64);

    impl Entropy for Counting {
        fn next_u64(&self) -> u64 {
            // Splitmix: every byte takes every value.
            let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
    }

    const TTL: Duration = Duration::from_secs(300);

    fn tokens(hand: &Arc<Hand>) -> SimpleTokens {
        SimpleTokens::new(hand.clone(), TTL)
    }

    fn held(tokens: &SimpleTokens) -> usize {
        tokens.read().held.len()
    }

    #[test]
    fn a_token_lives_for_its_time_after_each_use() {
        let hand = Arc::new(Hand::default());
        let tokens = tokens(&hand);
        tokens.assign("aaaa.7", "ann");
        tokens.assign("bbbb.8", "bob");
        for _ in 0..5 {
            hand.turn(TTL - Duration::from_secs(1));
            assert_eq!(tokens.user("aaaa.7").as_deref(), Some("ann"), "used in time, again and again");
        }
        assert_eq!(tokens.user("bbbb.8"), None, "not used for too long");
        hand.turn(TTL);
        assert_eq!(tokens.user("aaaa.7").as_deref(), Some("ann"), "to the last millisecond");
        hand.turn(TTL + Duration::from_millis(1));
        assert_eq!(tokens.user("aaaa.7"), None, "and no longer");
        assert_eq!(tokens.user("cccc.9"), None, "never assigned");
    }

    #[test]
    fn dead_tokens_take_no_room_for_long() {
        let hand = Arc::new(Hand::default());
        let tokens = tokens(&hand);
        for index in 0..1000 {
            tokens.assign(&format!("a.{index}"), "ann");
        }
        hand.turn(TTL / 2);
        tokens.assign("b.1", "bob");
        assert_eq!(held(&tokens), 1001, "all live");
        hand.turn(TTL / 2 + Duration::from_secs(1));
        tokens.assign("c.1", "cat");
        assert_eq!(held(&tokens), 2);
        assert!(tokens.user("b.1").is_some() && tokens.user("c.1").is_some());
    }

    #[test]
    fn a_users_tokens_go_together_and_others_stay() {
        let hand = Arc::new(Hand::default());
        let tokens = tokens(&hand);
        tokens.assign("a.1", "ann");
        tokens.assign("b.2", "bob");
        tokens.assign("c.3", "ann");
        tokens.drop_user("ann");
        assert_eq!(tokens.user("a.1"), None);
        assert_eq!(tokens.user("c.3"), None);
        assert_eq!(tokens.user("b.2").as_deref(), Some("bob"));
        tokens.drop_all();
        assert_eq!(tokens.user("b.2"), None);
    }

    #[test]
    fn a_full_table_forgets_what_was_not_used_and_nothing_else() {
        let hand = Arc::new(Hand::default());
        let mut tokens = tokens(&hand);
        tokens.tokens_max = 64;
        for index in 0..64 {
            tokens.assign(&format!("a.{index}"), "ann");
            hand.turn(Duration::from_millis(10));
        }
        assert!(tokens.user("a.0").is_some(), "the oldest is in use");
        hand.turn(Duration::from_millis(10));
        tokens.assign("new.1", "bob");
        assert_eq!(held(&tokens), 64 - 8 + 1);
        assert!(tokens.user("a.0").is_some() && tokens.user("new.1").is_some());
        assert!((1..=8).all(|index| tokens.user(&format!("a.{index}")).is_none()), "the longest unused");
        assert!((9..64).all(|index| tokens.user(&format!("a.{index}")).is_some()));
        for index in 0..1000 {
            tokens.assign(&format!("b.{index}"), "bob");
            assert!(held(&tokens) <= 64);
        }
        assert!(tokens.user("b.999").is_some(), "a new one is never refused");
    }

    #[test]
    fn letters_are_letters_and_all_of_them_are_drawn() {
        let entropy = Counting(AtomicU64::new(1));
        let drawn: Vec<String> = (0..2000).map(|_| letters(&entropy)).collect();
        assert!(drawn.iter().all(|one| one.len() == 16 && one.bytes().all(|b| b.is_ascii_alphabetic())));
        let mut counts = [0usize; 128];
        drawn.iter().flat_map(|one| one.bytes()).for_each(|byte| counts[usize::from(byte)] += 1);
        let counts: Vec<usize> = counts.into_iter().filter(|count| *count > 0).collect();
        assert_eq!(counts.len(), 52);
        // 32,000 letters: about 615 of each.
        assert!(counts.iter().all(|count| (450..800).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_index_in_a_token() {
        assert_eq!(index("abcdefghijklmnop.12"), Some(12));
        assert_eq!(index(".0"), Some(0));
        for none in ["", "abc", "abc.", "abc.x", "abc.-1", "abc.+1", "abc.1.2", "a.99999999999999999999"] {
            assert_eq!(index(none), None, "{none}");
        }
    }
}
