//! Random numbers that can be had again: every test prints its seed and takes it from HOLDFAST_SEED.

/// SplitMix64 (Steele, Lea, Flood 2014): one word of state, so a fork copies the whole future.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    #[allow(clippy::should_implement_trait, reason = "not an iterator: it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// 0 to `n` - 1.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// The seed of a test: HOLDFAST_SEED, or a new one; printed, so that a failure can be had again.
pub fn seed(test: &str) -> u64 {
    let asked = std::env::var("HOLDFAST_SEED").ok().and_then(|s| s.parse().ok());
    let seed = asked.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |n| n.as_nanos() as u64 % 1_000_000_007)
    });
    println!("{test}: HOLDFAST_SEED={seed}");
    seed
}

/// How much of something: from the environment, or the size for every change.
pub fn size(name: &str, usual: u64) -> u64 {
    let size = std::env::var(name).ok().and_then(|s| s.parse().ok()).unwrap_or(usual);
    println!("{name}={size}");
    size
}

/// `len` bytes that nothing else produces: a torn, mixed or foreign value differs from all.
pub fn content(tag: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(tag ^ (len as u64) << 40);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&rng.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
