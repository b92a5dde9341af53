//! What the tests of all crates share.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// A port on loopback that is free, outside the range from which the system takes ports for outgoing connections: so it
/// is still free when a service that was killed comes back to it.
///
/// # Panics
/// When none is free.
pub fn free_port() -> SocketAddr {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Several test processes may search at once; each begins elsewhere.
    let start = u16::try_from(std::process::id() % 12_000).unwrap_or_default();
    for _ in 0..12_000 {
        let offset = (start + NEXT.fetch_add(1, Ordering::Relaxed) % 12_000) % 12_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 20_000 + offset));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free");
}

/// Asks again and again until there is an answer, and fails with `what` when there is none within `limit`. It waits for a
/// state, so that a slow machine only makes a test slower.
///
/// # Panics
/// When the time is over.
pub async fn eventually<T, F, Fut>(what: &str, limit: Duration, mut ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < limit, "still waiting after {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
